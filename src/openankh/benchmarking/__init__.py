"""Benchmarks: tasks x models x heads x seeds, beside baselines, controls and what was published."""
