"""Downstream tasks: what they are, their data, their metrics, and the heads that learn them."""
