"""Embedding: the model over a stream of proteins, one array a protein, in input order.

`embedder` runs the model, `run` takes a FASTA file to an output. Import from the modules themselves: only `embedder`
and what stands on it needs torch.
"""
