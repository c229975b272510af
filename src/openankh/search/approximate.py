"""Approximate search: faiss picks candidates from compressed vectors in memory, their distances are measured exactly.

The vectors are divided into lists around centroids (IVF) and kept as product-quantised codes of about an eighth of a
float32 number each (PQ). A query looks into the nearest lists; the best by their codes are measured on the vectors
themselves, so distances are exact and only a neighbour may be missed. How often that happens is measured when the index
is built. N vectors, Q queries, S sampled vectors, D numbers each.
"""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.search.exact import ExactSearch
from openankh.search.identity import Exclusion, OwnPlace
from openankh.search.metric import Metric, QueryVectors, block_norms, usable_norms
from openankh.search.nearest_pairs import NearestPairs, Neighbours
from openankh.search.vectors import Vectors

MIN_VECTORS = 10_000
"""Among fewer, reading all of them is as fast as any index."""
SAMPLE_BYTES = 128 << 20
MAX_SAMPLE_A_LIST = 256
WANTED_RECALL, RECALL_AT, NUM_RECALL_QUERIES = 0.95, 10, 200
_NUMBERS_A_CODE = 8
_FETCHED_A_NEIGHBOUR, _MIN_FETCHED = 20, 200

OnShare = Callable[[float], None]
"""Told the share of the work that is done."""


@dataclass(frozen=True)
class IndexFacts:
    """How an index divides its vectors, how many lists a query looks into, and what share of the nearest it finds.

    `recall`: the share of the exact RECALL_AT nearest that is found, for queries taken from the vectors themselves.
    """

    metric: Metric
    num_vectors: int
    num_lists: int
    num_probes: int
    code_bytes: int
    recall: float


def faiss_module() -> Any:
    """The faiss package; UserError with the remedy where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise UserError('approximate search needs faiss, which is not installed; run: pip install "openankh[search]"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its generated bindings warn about themselves
        import faiss
    return faiss


class ApproximateSearch:
    """Finds most of the nearest of `vectors` through an index, without reading them all."""

    def __init__(self, vectors: Vectors, index: Any, facts: IndexFacts) -> None:
        self.vectors = vectors
        self.metric: Metric = facts.metric
        self.index = index
        self.facts = facts

    @property
    def num_unusable(self) -> int:
        """Vectors that cannot be compared, and are not in the index."""
        return len(self.vectors) - self.facts.num_vectors

    def search(self, queries_QD: NDArray[np.floating], num: int, exclusion: Exclusion | None = None) -> Neighbours:
        """The `num` nearest of each query that the index leads to, with exact distances.

        Beyond RECALL_AT neighbours, as many times more lists are looked into.
        A query of which the exclusion leaves fewer than `num` candidates is searched exactly.
        """
        queries = QueryVectors.of(queries_QD, self.metric)
        num_probes = self.facts.num_probes * -(-num // RECALL_AT)
        queries_P, places_P = self.candidates(queries, num, min(num_probes, self.facts.num_lists))
        nearest = NearestPairs(queries, self.vectors, num, exclusion)
        nearest.offer_pairs(queries_P, places_P)
        found = nearest.neighbours()
        is_short = (found.places[:, -1] < 0) & ~np.isnan(queries.norms_Q)
        if is_short.any() and num < self.facts.num_vectors:
            self._search_exactly(queries_QD, np.flatnonzero(is_short), exclusion, found)
        return found

    def candidates(self, queries: QueryVectors, num: int, num_probes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of query and place that the codes in the nearest lists make likely."""
        faiss = faiss_module()
        num_fetched = min(max(_FETCHED_A_NEIGHBOUR * num, _MIN_FETCHED), self.facts.num_vectors)
        probing = faiss.SearchParametersIVF(nprobe=num_probes)
        _, places_QF = self.index.search(queries.scored_QD, num_fetched, params=probing)
        is_found_QF = (places_QF >= 0) & ~np.isnan(queries.norms_Q)[:, None]
        queries_P, _ = np.nonzero(is_found_QF)
        return queries_P, places_QF[is_found_QF].astype(np.intp)

    def _search_exactly(
        self, queries_QD: NDArray[np.floating], short: NDArray[np.intp], exclusion: Exclusion | None, found: Neighbours
    ) -> None:
        """Fill in the neighbours of the queries that came short."""
        part = exclusion.of_queries(short) if exclusion is not None else None
        exact = ExactSearch(self.vectors, self.metric).search(queries_QD[short], found.places.shape[1], part)
        found.places[short] = exact.places
        found.distances[short] = exact.distances
        found.similarities[short] = exact.similarities


def build_index(vectors: Vectors, metric: Metric, on_share: OnShare = lambda share: None) -> ApproximateSearch:
    """Build the index, reading the vectors three times a block at a time.

    Memory: the codes and the places (code_bytes + 8 a vector), a sample of at most SAMPLE_BYTES (for cosine twice),
    what faiss makes of it in training, and a block.
    """
    norms_N, sample_places, sample_SD = _surveyed(vectors, metric)
    on_share(0.2)
    training_SD = sample_SD / norms_N[sample_places, None] if metric == "cosine" else sample_SD
    index = _trained(training_SD, int((~np.isnan(norms_N)).sum()))
    del training_SD
    on_share(0.5)
    _add_all(index, vectors, norms_N, metric)
    on_share(0.9)
    facts = IndexFacts(metric, index.ntotal, index.nlist, index.nlist, index.code_size, 1.0)
    search = ApproximateSearch(vectors, index, facts)
    search.facts = _with_probes(search, norms_N, sample_SD, sample_places)
    on_share(1.0)
    return search


def num_lists_for(num_vectors: int) -> int:
    """About the square root of the number of vectors: a power of two."""
    return 2 ** max(round(np.log2(num_vectors) / 2), 4)


def _surveyed(vectors: Vectors, metric: Metric) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    """(usable norms (N,), places (S,), vectors (S, D)): a sample drawn at random to train with, in order."""
    num = min(
        len(vectors), SAMPLE_BYTES // (4 * vectors.width), MAX_SAMPLE_A_LIST * max(num_lists_for(len(vectors)), 256)
    )
    places_S = np.sort(np.random.default_rng(0).choice(len(vectors), num, replace=False))
    sample_SD = np.empty((num, vectors.width), np.float32)
    norms, first, start = [np.zeros(0, np.float32)], 0, 0
    for block_BD in vectors.blocks():
        norms.append(block_norms(block_BD))
        end = int(np.searchsorted(places_S, first + len(block_BD)))
        sample_SD[start:end] = block_BD[places_S[start:end] - first]
        first, start = first + len(block_BD), end
    norms_N = usable_norms(np.concatenate(norms), metric).astype(np.float32)
    is_usable_S = ~np.isnan(norms_N[places_S])
    if not is_usable_S.any():
        raise UserError("no vectors can be compared: those looked at are all zero or not finite")
    if is_usable_S.all():
        return norms_N, places_S, sample_SD
    return norms_N, places_S[is_usable_S], sample_SD[is_usable_S]


def _trained(sample_SD: NDArray[np.float32], num_vectors: int) -> Any:
    faiss = faiss_module()
    width = sample_SD.shape[1]
    numbers_a_code = max(count for count in range(1, _NUMBERS_A_CODE + 1) if width % count == 0)
    num_lists = min(num_lists_for(num_vectors), len(sample_SD))
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatL2(width), width, num_lists, width // numbers_a_code, min(8, int(np.log2(len(sample_SD))))
    )
    for clustering in (index.cp, index.pq.cp):
        clustering.min_points_per_centroid = 1  # else faiss prints its advice
        clustering.max_points_per_centroid = MAX_SAMPLE_A_LIST
    index.train(sample_SD)
    return index


def _add_all(index: Any, vectors: Vectors, norms_N: NDArray[np.float32], metric: Metric) -> None:
    first = 0
    for block_BD in vectors.blocks():
        norms_B = norms_N[first : first + len(block_BD)]
        is_usable_B = ~np.isnan(norms_B)
        usable_BD = block_BD[is_usable_B]
        if metric == "cosine":
            usable_BD = usable_BD / norms_B[is_usable_B, None]
        if len(usable_BD):
            index.add_with_ids(np.ascontiguousarray(usable_BD), first + np.flatnonzero(is_usable_B))
        first += len(block_BD)


def _with_probes(
    search: ApproximateSearch,
    norms_N: NDArray[np.float32],
    sample_SD: NDArray[np.float32],
    sample_places: NDArray[np.intp],
) -> IndexFacts:
    """The facts with as few lists to look into as find the wanted share of the nearest."""
    chosen = np.random.default_rng(1).permutation(len(sample_SD))[:NUM_RECALL_QUERIES]
    queries_QD, own = sample_SD[chosen], OwnPlace(sample_places[chosen])
    num = min(RECALL_AT, search.facts.num_vectors - 1)
    exact = ExactSearch(search.vectors, search.metric, keep=False, norms_N=norms_N).search(queries_QD, num, own)
    queries = QueryVectors.of(queries_QD, search.metric)
    num_probes, recall = 1, 0.0
    while recall < WANTED_RECALL and num_probes < search.facts.num_lists:
        num_probes *= 2
        nearest = NearestPairs(queries, search.vectors, num, own, keep=False)
        nearest.offer_pairs(*search.candidates(queries, num, num_probes))
        recall = _recall(nearest.neighbours(), exact)
    facts = search.facts
    return IndexFacts(facts.metric, facts.num_vectors, facts.num_lists, num_probes, facts.code_bytes, round(recall, 4))


def _recall(found: Neighbours, exact: Neighbours) -> float:
    """The share of the exact neighbours that is among the found ones."""
    is_among_QK = (exact.places[:, :, None] == found.places[:, None, :]).any(axis=2)
    return float(is_among_QK[exact.places >= 0].mean())
