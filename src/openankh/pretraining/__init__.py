"""Training an Ankh model from random weights: recipes, optimisers, schedules, resumable state, the loop."""
