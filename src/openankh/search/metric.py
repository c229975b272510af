"""How near two vectors are, and a fast score that bounds it: cosine or Euclidean.

The score is computed in float32 for every pair, the distance in float64 for the few pairs that can matter. Which they
are follows from a bound on float32's rounding, so the neighbours found are those of float64, however much the vectors
have in common. N vectors searched, Q queries, P pairs, D numbers each.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openankh.search.vectors import Vectors

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")

_UNIT = 2.0**-24
_TINY = 1e-30
_LARGEST, _SMALLEST = 1e15, 1e-15
"""Norms beyond these overflow or vanish when squared in float32; no embedding comes near."""


def usable_norms(norms: NDArray[np.floating], metric: Metric) -> NDArray[np.floating]:
    """The norms, NaN where this metric cannot compare the vector.

    That is a vector with a number that is not finite (or a norm over 1e15), and for cosine one without a direction (a
    norm under 1e-15).
    """
    bad = ~(norms < _LARGEST)
    if metric == "cosine":
        bad |= norms < _SMALLEST
    return np.where(bad, np.nan, norms)


def norms_of(vectors: Vectors, metric: Metric, *, keep: bool = False) -> NDArray[np.float32]:
    """The usable norms of all vectors (N,), in float32; reads them all."""
    parts = [block_norms(block_BD) for block_BD in vectors.blocks(keep=keep)]
    return usable_norms(np.concatenate([np.zeros(0, np.float32), *parts]), metric).astype(np.float32)


def block_norms(block_BD: NDArray[np.float32]) -> NDArray[np.float32]:
    """The norms of the vectors of a block (B,), whatever they are."""
    with np.errstate(all="ignore"):
        return np.sqrt(np.einsum("bd,bd->b", block_BD, block_BD))


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """Query vectors (Q, D) as the fast score takes them, with what the exact distance needs.

    `values_QD` in float64; `norms_Q` NaN where the metric cannot compare; `scored_QD` in float32, of length one for
    cosine, zero where it cannot be compared.
    """

    metric: Metric
    values_QD: NDArray[np.float64]
    norms_Q: NDArray[np.float64]
    scored_QD: NDArray[np.float32]

    @classmethod
    def of(cls, vectors_QD: NDArray[np.floating], metric: Metric) -> "QueryVectors":
        values_QD = np.asarray(vectors_QD, np.float64)
        with np.errstate(all="ignore"):
            norms_Q = usable_norms(np.linalg.norm(values_QD, axis=1), metric).astype(np.float64)
            scored_QD = values_QD / norms_Q[:, None] if metric == "cosine" else values_QD
        scored_QD = np.where(np.isnan(norms_Q)[:, None], 0.0, scored_QD)
        return cls(metric, values_QD, norms_Q, np.ascontiguousarray(scored_QD, np.float32))

    def __len__(self) -> int:
        return len(self.values_QD)

    @property
    def largest_norm(self) -> float:
        """Of the vectors that are scored."""
        return 1.0 if self.metric == "cosine" else float(np.nanmax(self.norms_Q, initial=0.0))

    def score_at(self, queries_P: NDArray[np.intp], distances_P: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score that a vector at this distance from its query has, rounded down."""
        if self.metric == "cosine":
            return (1 - distances_P) - 1e-11
        squares_P, norms_P = distances_P**2, self.norms_Q[queries_P] ** 2
        return (norms_P - squares_P) / 2 - 1e-11 * (norms_P + squares_P)


@dataclass(frozen=True, eq=False)
class Bounds:
    """How the product of a query and a vector becomes a score: at least the exact score, and at most `slack_N` above.

    The exact score grows as the distance shrinks: cosine similarity, or q·x - |x|²/2. NaN for vectors that cannot be
    compared, and NaN is larger than nothing. A product of D numbers summed in float32 in whatever order errs by at
    most D/2^24 of the product of the norms.
    """

    scale_N: NDArray[np.float32] | None
    offset_N: NDArray[np.float32]
    slack_N: NDArray[np.float32]

    @classmethod
    def of(cls, norms_N: NDArray[np.float32], metric: Metric, width: int, largest_query: float) -> "Bounds":
        rounding = 1.01 * (width + 16) * _UNIT
        norms64_N = norms_N.astype(np.float64)
        if metric == "cosine":
            error_N = np.where(np.isnan(norms64_N), np.nan, 2 * rounding)
            return cls((1 / norms64_N).astype(np.float32), _rounded_up(error_N), _rounded_up(2.1 * error_N))
        error_N = rounding * norms64_N * (largest_query + norms64_N) + _TINY
        return cls(None, _rounded_up(error_N - norms64_N**2 / 2), _rounded_up(2.1 * error_N))

    def scores(self, products_QB: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """The scores of a block that begins at place `first`; written over the products."""
        part = slice(first, first + products_QB.shape[1])
        if self.scale_N is not None:
            products_QB *= self.scale_N[part]
        products_QB += self.offset_N[part]
        return products_QB


def _rounded_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distances (P,) and cosine similarities (P,) of pairs, in float64; no similarity (NaN) for a zero vector."""

    distances: NDArray[np.float64]
    similarities: NDArray[np.float64]


def nearness(queries: QueryVectors, queries_P: NDArray[np.intp], vectors_PD: NDArray[np.float32]) -> Nearness:
    """The exact nearness of each pair: the query of this number and the vector of this row."""
    asked_PD, norms_P = queries.values_QD[queries_P], np.linalg.norm(queries.values_QD[queries_P], axis=1)
    found_PD = vectors_PD.astype(np.float64)
    with np.errstate(all="ignore"):
        asked_unit_PD = asked_PD / norms_P[:, None]
        found_unit_PD = found_PD / np.linalg.norm(found_PD, axis=1)[:, None]
        angular_P = np.square(asked_unit_PD - found_unit_PD).sum(axis=1) / 2
        if queries.metric == "cosine":
            return Nearness(angular_P, 1 - angular_P)
        return Nearness(np.sqrt(np.square(asked_PD - found_PD).sum(axis=1)), 1 - angular_P)
