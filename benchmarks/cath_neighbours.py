"""Annotation transfer: does the nearest CATH domain have a query's class, architecture, topology and superfamily?

Euclidean distance; a query's nearest neighbour among the lookup domains whose sequence is not the query's own; accuracy
at a level over the queries whose code at that level occurs in the lookup set at all. Q queries, N lookup domains, D
numbers a domain, 4 levels (C, A, T, H).
"""

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
LEVELS = ("C", "A", "T", "H")
NUM_RESAMPLES = 10_000

Features = Callable[[Sequence[str]], NDArray[np.floating]]
"""From sequences to one row of numbers each."""


@dataclass(frozen=True)
class Domains:
    """Domains of one file and their CATH codes, each cut to its first 1, 2, 3 and 4 numbers."""

    sequences: tuple[str, ...]
    codes: NDArray[np.str_]

    @classmethod
    def read(cls, path: Path) -> "Domains":
        with gzip.open(path, "rt", newline="") as file:
            rows = list(csv.DictReader(file))
        cut = [[".".join(row["cath"].split(".")[: level + 1]) for level in range(len(LEVELS))] for row in rows]
        return cls(tuple(row["sequence"] for row in rows), np.array(cut))


@dataclass(frozen=True)
class Interval:
    """A share of queries, in per cent, with the 95 % interval of resampled queries; `num` queries were counted."""

    value: float
    low: float
    high: float
    num: int


def composition(sequences: Sequence[str]) -> NDArray[np.float64]:
    """Shares of the 20 amino acids (N, 20)."""
    counts = np.array([[sequence.count(letter) for letter in AMINO_ACIDS] for sequence in sequences], np.float64)
    return counts / counts.sum(axis=1, keepdims=True)


def composition_and_dipeptides(sequences: Sequence[str]) -> NDArray[np.float64]:
    """The same, and the number of each of the 400 adjacent pairs by the length of the protein (N, 420)."""
    return np.hstack([composition(sequences), np.stack([_dipeptides(sequence) for sequence in sequences])])


def _dipeptides(sequence: str) -> NDArray[np.float64]:
    places = np.array([AMINO_ACIDS.find(letter) for letter in sequence])
    known = (places[:-1] >= 0) & (places[1:] >= 0)
    pairs = (places[:-1] * len(AMINO_ACIDS) + places[1:])[known]
    return np.bincount(pairs, minlength=len(AMINO_ACIDS) ** 2) / len(sequence)


def nearest(
    queries_QD: NDArray[np.floating], lookup_ND: NDArray[np.floating], barred_QN: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """The place of the nearest lookup domain of each query (Q,), barred ones left out."""
    queries, lookup = queries_QD.astype(np.float64), lookup_ND.astype(np.float64)
    squared_QN = (queries**2).sum(1)[:, None] + (lookup**2).sum(1) - 2 * queries @ lookup.T
    return np.where(barred_QN, np.inf, squared_QN).argmin(axis=1)


def hits(queries: Domains, lookup: Domains, features: Features) -> NDArray[np.bool_]:
    """Whether each query's nearest neighbour has its code at each level (Q, 4)."""
    barred_QN = np.array(queries.sequences)[:, None] == np.array(lookup.sequences)
    places = nearest(features(queries.sequences), features(lookup.sequences), barred_QN)
    return queries.codes == lookup.codes[places]


def counted(queries: Domains, lookup: Domains) -> NDArray[np.bool_]:
    """Whether each query's code at each level occurs in the lookup set (Q, 4)."""
    return np.stack([np.isin(queries.codes[:, level], lookup.codes[:, level]) for level in range(len(LEVELS))], axis=1)


def accuracies(hits_Q4: NDArray[np.number | np.bool_], counted_Q4: NDArray[np.bool_]) -> dict[str, Interval]:
    """Accuracy at each level; `hits_Q4` may be shares, as of several random models."""
    return {level: _interval(hits_Q4[counted_Q4[:, at], at]) for at, level in enumerate(LEVELS)}


def _interval(hits_Q: NDArray[np.number | np.bool_]) -> Interval:
    draws = np.random.default_rng(0).integers(len(hits_Q), size=(NUM_RESAMPLES, len(hits_Q)))
    low, high = np.percentile(hits_Q[draws].mean(axis=1), (2.5, 97.5))
    return Interval(100 * float(hits_Q.mean()), 100 * float(low), 100 * float(high), len(hits_Q))
