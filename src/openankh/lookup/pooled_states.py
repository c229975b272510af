"""Every kind of pooled vector that a model can make of proteins, by one run of its encoder: layers and pools.

N proteins, D model width.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.attention import Documents
from openankh.embedding.batches import packed_tokens, token_batches
from openankh.embedding.embedder import Embedder
from openankh.embedding.pooling import pooled
from openankh.fasta import Record
from openankh.store import Pool


@dataclass(frozen=True)
class Choice:
    """One kind of vector: which layer (counted from 0, the embedded input), pooled how."""

    layer: int
    pool: Pool


OnResidues = Callable[[int], None]


@torch.inference_mode()
def pooled_states(
    embedder: Embedder,
    sequences: Sequence[str],
    choices: Collection[Choice],
    on_residues: OnResidues = lambda num: None,
) -> dict[Choice, NDArray[np.float32]]:
    """The vectors (N, D) of each kind; batches and prefix are those of the embedder."""
    prefix = embedder.vocab.prefix_id(embedder.prefix) if embedder.prefix else None
    records = [Record(str(number), "", sequence, number) for number, sequence in enumerate(sequences)]
    made: dict[Choice, list[NDArray[np.float32]]] = {choice: [] for choice in choices}
    num_residues = 0
    for batch in token_batches(records, lambda: embedder.max_tokens, 1 if prefix is None else 2):
        tokens, places, offsets = packed_tokens(batch, embedder.vocab, prefix)
        documents = Documents(tuple(offsets.tolist()))
        layers = {choice.layer for choice in choices}
        output = embedder.encoder.encode(torch.from_numpy(tokens).to(embedder.device), documents, layers)
        lengths = [len(record.sequence) for record in batch]
        for choice in choices:
            rows_ND = output.states[choice.layer][torch.from_numpy(places).to(embedder.device)]
            made[choice].append(pooled(rows_ND, lengths, choice.pool).float().cpu().numpy())
        num_residues += sum(lengths)
        on_residues(num_residues)
    return {choice: np.concatenate(parts) for choice, parts in made.items()}
