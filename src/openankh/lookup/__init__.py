"""Lookup: proteins to search among, whatever file they come from, and queries embedded to match them."""
