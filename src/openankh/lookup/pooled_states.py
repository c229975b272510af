"""Every kind of vector that a model can make of proteins, by one run of its encoder: of each layer, each pool.

N proteins, K layers, L residues, D model width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.embedder import Embedder
from openankh.fasta import Record
from openankh.store import Pool

OnResidues = Callable[[int], None]


@dataclass(frozen=True)
class Choice:
    """One kind of vector: which layer (counted from 0, the embedded input), pooled how."""

    layer: int
    pool: Pool


def pooled_states(
    embedder: Embedder,
    sequences: Sequence[str],
    pools: Sequence[Pool],
    on_residues: OnResidues = lambda num: None,
) -> dict[Choice, NDArray[np.float32]]:
    """The vectors (N, D) of each layer that the embedder gives, of each pool (mean, max).

    The embedder gives rows of residues; means are taken in float64.
    """
    assert embedder.pool == "residues", embedder.pool
    records = [Record(str(number), "", sequence, number) for number, sequence in enumerate(sequences)]
    shape = (len(pools), len(embedder.layers), len(records), embedder.model.config.d_model)
    made = np.empty(shape, np.float32)
    num_residues = 0
    for number, (record, array) in enumerate(embedder.embed(records)):
        rows_KLD = array.reshape(len(embedder.layers), len(record.sequence), -1)
        for at, pool in enumerate(pools):
            made[at, :, number] = rows_KLD.mean(axis=1, dtype=np.float64) if pool == "mean" else rows_KLD.max(axis=1)
        num_residues += len(record.sequence)
        on_residues(num_residues)
    return {
        Choice(layer, pool): made[at, place]
        for at, pool in enumerate(pools)
        for place, layer in enumerate(embedder.layers)
    }
