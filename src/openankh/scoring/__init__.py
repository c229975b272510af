"""Variant effects: how a change of a protein changes what a model thinks of it, by a named method."""
