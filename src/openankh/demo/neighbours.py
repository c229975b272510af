"""Who lies nearest to whom: cosine similarity of vectors taken about their common mean.

N proteins, D numbers a protein.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass(frozen=True)
class Neighbours:
    """For each protein the place of the nearest other one (N,) and the similarity to it (N,), from -1 to 1."""

    places: NDArray[np.intp]
    similarities: NDArray[np.floating]

    def share_alike(self, labels: Sequence[str]) -> float:
        """The share of proteins whose nearest neighbour has their own label."""
        own = np.asarray(labels)
        return float(np.mean(own == own[self.places]))


def centred_units(vectors_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """The vectors about their mean, each of length one.

    A mean-pooled embedding is mostly what all proteins share: without this every pair of proteins looks alike.
    """
    centred_ND = np.asarray(vectors_ND, np.float64) - np.mean(vectors_ND, axis=0, dtype=np.float64)
    return centred_ND / np.maximum(np.linalg.norm(centred_ND, axis=1, keepdims=True), 1e-12)


def nearest(vectors_ND: NDArray[np.floating]) -> Neighbours:
    """The nearest other protein of each; the first in order where several are equally near."""
    assert len(vectors_ND) > 1, "one protein has no neighbour"
    units_ND = centred_units(vectors_ND)
    similarities_NN = units_ND @ units_ND.T
    np.fill_diagonal(similarities_NN, -np.inf)
    places = similarities_NN.argmax(axis=1)
    return Neighbours(places, similarities_NN[np.arange(len(places)), places])


def composition(sequences: Sequence[str]) -> NDArray[np.float64]:
    """The shares of the 20 amino acids in each protein (N, 20): what can be known without any model."""
    counts = np.array([[sequence.count(letter) for letter in AMINO_ACIDS] for sequence in sequences], np.float64)
    return counts / counts.sum(axis=1, keepdims=True)
