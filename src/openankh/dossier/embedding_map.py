"""Proteins on a plane: the first two principal components of their embeddings. N proteins, D numbers each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Places (N, 2), and the share of the variance that each axis holds."""

    places_N2: NDArray[np.float64]
    explained: tuple[float, float]


def principal_map(vectors_ND: NDArray[np.floating]) -> EmbeddingMap:
    """The map of these vectors; axes point to where their largest coordinate is positive, so that it is one map."""
    centred_ND = vectors_ND.astype(np.float64) - vectors_ND.mean(axis=0, dtype=np.float64)
    places_NK, sizes_K, _ = np.linalg.svd(centred_ND, full_matrices=False)
    kept = min(2, len(sizes_K))
    places_N2 = np.zeros((len(vectors_ND), 2))
    places_N2[:, :kept] = places_NK[:, :kept] * sizes_K[:kept]
    largest_2 = places_N2[np.abs(places_N2).argmax(axis=0), [0, 1]]
    places_N2 *= np.where(largest_2 < 0, -1.0, 1.0)
    total = float(np.square(sizes_K).sum())
    shares = [float(size**2) / total if total > 0 else 0.0 for size in sizes_K[:2]]
    first, second = [*shares, 0.0, 0.0][:2]
    return EmbeddingMap(places_N2, (first, second))
