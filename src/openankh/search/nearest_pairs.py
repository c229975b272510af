"""The nearest found so far for each query, kept exact while candidates stream in by their fast scores.

Q queries, P pairs of a query and a vector, K neighbours wanted, D numbers a vector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.search.identity import SAME_VECTOR, Exclusion
from openankh.search.metric import Bounds, Nearness, QueryVectors, nearness
from openankh.search.vectors import Vectors

_PAIRS_AT_ONCE = 2048
_PENDING_PAIRS = 1 << 16


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The K nearest of each query, nearest first: places, distances and cosine similarities, all (Q, K).

    Where fewer were found, places are -1 and the rest NaN. Of equally near vectors the first in order comes first.
    """

    places: NDArray[np.intp]
    distances: NDArray[np.float64]
    similarities: NDArray[np.float64]


class NearestPairs:
    """The K nearest of each query among the candidates offered; `keep` as for `Vectors.blocks`."""

    def __init__(
        self,
        queries: QueryVectors,
        vectors: Vectors,
        num: int,
        exclusion: Exclusion | None,
        *,
        keep: bool = True,
    ) -> None:
        self._queries = queries
        self._vectors = vectors
        self._keep = keep
        self._num = num
        self._exclusion = exclusion
        num_queries = len(queries)
        self._places = np.full((num_queries, num), -1, np.intp)
        self._distances = np.full((num_queries, num), np.nan)
        self._similarities = np.full((num_queries, num), np.nan)
        self._pending: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = []
        self._num_pending = 0
        # A score below this cannot be one of the nearest; a query that cannot be compared has none.
        self.thresholds = np.where(np.isnan(queries.norms_Q), np.inf, -np.inf).astype(np.float32)

    def offer_block(self, scores_QB: NDArray[np.float32], first: int, bounds: Bounds) -> None:
        """Take into account all vectors from place `first` on, by their scores."""
        is_near_QB = scores_QB >= self.thresholds[:, None]
        found = np.flatnonzero(is_near_QB)
        if len(found) == 0:
            return
        queries_P, columns_P = np.divmod(found, scores_QB.shape[1])
        self._pending.append((queries_P, columns_P + first, scores_QB.reshape(-1)[found]))
        self._num_pending += len(found)
        if self._num_pending > _PENDING_PAIRS or np.isneginf(self.thresholds).any():
            self._settle(bounds)

    def offer_pairs(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> None:
        """Take these candidates into account, whatever their score."""
        self._keep_nearest(queries_P, places_P)

    def neighbours(self, bounds: Bounds | None = None) -> Neighbours:
        """The nearest of all that was offered."""
        if bounds is not None:
            self._settle(bounds)
        return Neighbours(self._places, self._distances, self._similarities)

    def _settle(self, bounds: Bounds) -> None:
        """Find out which of the pending pairs are among the nearest, and raise the thresholds."""
        if not self._pending:
            return
        queries_P, places_P, scores_P = (np.concatenate(part) for part in zip(*self._pending, strict=True))
        self._pending, self._num_pending = [], 0
        if self._exclusion is not None:
            counts = ~self._exclusion.is_barred(queries_P, places_P)
            queries_P, places_P, scores_P = queries_P[counts], places_P[counts], scores_P[counts]
        matters_P = self._can_matter(queries_P, places_P, scores_P, bounds)
        self._keep_nearest(queries_P[matters_P], places_P[matters_P])

    def _can_matter(
        self,
        queries_P: NDArray[np.intp],
        places_P: NDArray[np.intp],
        scores_P: NDArray[np.float32],
        bounds: Bounds,
    ) -> NDArray[np.bool_]:
        """Whether a pair may be among the nearest: no K others are surely nearer."""
        matters_P = np.ones(len(queries_P), np.bool_)
        surely_P = scores_P - bounds.slack_N[places_P]
        is_same_P = np.zeros(len(queries_P), np.bool_)
        if self._exclusion is not None:
            # What may prove to be the same protein is looked at, and is no evidence against others.
            is_same_P = self._exclusion.is_suspect(queries_P, places_P) & (scores_P >= self._same_scores()[queries_P])
            surely_P = np.where(is_same_P, -np.inf, surely_P)
        order = np.lexsort((-surely_P, queries_P))
        ranks = _ranks(queries_P[order])
        thresholds = self.thresholds.copy()
        at_rank = order[ranks == self._num - 1]
        thresholds[queries_P[at_rank]] = np.maximum(thresholds[queries_P[at_rank]], surely_P[at_rank])
        matters_P = scores_P >= thresholds[queries_P]
        return matters_P | is_same_P

    def _same_scores(self) -> NDArray[np.float64]:
        """The least score (Q,) of a vector that is the query's own."""
        every = np.arange(len(self._queries))
        norms_Q = self._queries.norms_Q
        farthest_Q = SAME_VECTOR**2 / 2 if self._queries.metric == "cosine" else SAME_VECTOR * norms_Q
        return self._queries.score_at(every, np.broadcast_to(farthest_Q, len(every)))

    def _keep_nearest(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> None:
        """Measure these pairs exactly and keep the nearest of them and of those kept so far."""
        found = self._measured(queries_P, places_P)
        counts = ~np.isnan(found.distances)
        if self._exclusion is not None:
            is_same = self._gaps(queries_P, found) <= SAME_VECTOR
            counts &= ~(self._exclusion.is_suspect(queries_P, places_P) & is_same)
            counts &= ~self._exclusion.is_barred(queries_P, places_P)
        kept_queries, kept_ranks = np.nonzero(self._places >= 0)
        queries = np.concatenate([kept_queries, queries_P[counts]])
        places = np.concatenate([self._places[kept_queries, kept_ranks], places_P[counts]])
        distances = np.concatenate([self._distances[kept_queries, kept_ranks], found.distances[counts]])
        similarities = np.concatenate([self._similarities[kept_queries, kept_ranks], found.similarities[counts]])
        order = np.lexsort((places, distances, queries))
        ranks = _ranks(queries[order])
        chosen, ranks = order[ranks < self._num], ranks[ranks < self._num]
        self._places[queries[chosen], ranks] = places[chosen]
        self._distances[queries[chosen], ranks] = distances[chosen]
        self._similarities[queries[chosen], ranks] = similarities[chosen]
        self._raise_thresholds()

    def _measured(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> Nearness:
        """The exact nearness of all pairs, some thousand at a time."""
        parts = []
        for start in range(0, len(queries_P), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            parts.append(nearness(self._queries, queries_P[part], self._vectors.rows(places_P[part], keep=self._keep)))
        none = np.zeros(0)
        distances = np.concatenate([none, *(part.distances for part in parts)])
        return Nearness(distances, np.concatenate([none, *(part.similarities for part in parts)]))

    def _gaps(self, queries_P: NDArray[np.intp], found: Nearness) -> NDArray[np.float64]:
        """How far each vector lies from its query, by the query's norm."""
        if self._queries.metric == "cosine":
            return np.sqrt(2 * found.distances)
        with np.errstate(all="ignore"):
            return np.nan_to_num(found.distances / self._queries.norms_Q[queries_P])

    def _raise_thresholds(self) -> None:
        full = np.flatnonzero(self._places[:, -1] >= 0)
        scores = self._queries.score_at(full, self._distances[full, -1]).astype(np.float32)
        self.thresholds[full] = np.nextafter(scores, np.float32(-np.inf))


def _ranks(queries_P: NDArray[np.intp]) -> NDArray[np.intp]:
    """The place of each pair among those of its query, of pairs sorted by query."""
    if len(queries_P) == 0:
        return np.zeros(0, np.intp)
    starts = np.flatnonzero(np.diff(queries_P, prepend=queries_P[0] - 1))
    return np.arange(len(queries_P)) - np.repeat(starts, np.diff(starts, append=len(queries_P)))
