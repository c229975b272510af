"""Proposed proteins: those of a family, those that keep a part of one protein, and mutants that a score prefers."""
