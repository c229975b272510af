"""Exact search: every query against every vector, read once a batch of queries.

Q queries, B vectors of a block, D numbers each.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from openankh.search.identity import Exclusion
from openankh.search.metric import Bounds, Metric, QueryVectors, norms_of
from openankh.search.nearest_pairs import NearestPairs, Neighbours
from openankh.search.vectors import Vectors

QUERIES_AT_ONCE = 1024
_SCORES_AT_ONCE = 1 << 22
_FIRST_ROWS = 256
"""A first small part gives every query a threshold, so that few of the pairs that follow need a closer look."""


class ExactSearch:
    """Finds the nearest of `vectors` by reading all of them; the result is that of float64 arithmetic.

    Vectors that the metric cannot compare (not finite; zero, for cosine) are nobody's neighbours. `keep`: see
    `Vectors.blocks`; `norms_N`, where they are known already.
    """

    def __init__(
        self, vectors: Vectors, metric: Metric, *, keep: bool = True, norms_N: NDArray[np.float32] | None = None
    ) -> None:
        self.vectors = vectors
        self.metric: Metric = metric
        self._keep = keep
        self._norms_N = norms_N

    @cached_property
    def norms(self) -> NDArray[np.float32]:
        """The norms of all vectors (N,), NaN where one cannot be compared; computed when first needed."""
        return norms_of(self.vectors, self.metric, keep=self._keep) if self._norms_N is None else self._norms_N

    @property
    def num_unusable(self) -> int:
        """Vectors that cannot be compared."""
        return int(np.isnan(self.norms).sum())

    def search(self, queries_QD: NDArray[np.floating], num: int, exclusion: Exclusion | None = None) -> Neighbours:
        """The `num` nearest of each query; none for a query that the metric cannot compare."""
        queries = QueryVectors.of(queries_QD, self.metric)
        nearest = NearestPairs(queries, self.vectors, num, exclusion, keep=self._keep)
        bounds = Bounds.of(self.norms, self.metric, self.vectors.width, queries.largest_norm)
        first = 0
        for block_BD in self.vectors.blocks(keep=self._keep):
            for part_BD in _parts(block_BD, len(queries), 0 if first else max(_FIRST_ROWS, 2 * num)):
                scores_QB = bounds.scores(_products(queries.scored_QD, part_BD), first)
                nearest.offer_block(scores_QB, first, bounds)
                first += len(part_BD)
        return nearest.neighbours(bounds)


def _parts(block_BD: NDArray[np.float32], num_queries: int, num_first: int) -> Iterator[NDArray[np.float32]]:
    """The block in parts whose scores stay few, after one of `num_first` rows."""
    if num_first:
        yield block_BD[:num_first]
    size = max(_SCORES_AT_ONCE // max(num_queries, 1), 1)
    for start in range(num_first, len(block_BD), size):
        yield block_BD[start : start + size]


def _products(queries_QD: NDArray[np.float32], block_BD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products (Q, B); numbers that are not finite give such products and no warning."""
    with np.errstate(all="ignore"):
        if len(queries_QD) == 1:
            return (block_BD @ queries_QD[0])[None]
        return queries_QD @ block_BD.T
