"""What the decoder writes: completions, residues behind sentinels, and how likely given targets are.

Exact and in batches: what is written for a protein depends on that protein, the options and the seed alone.
"""
