"""Heads: what is learned on top of an encoder's rows, one row a residue."""
