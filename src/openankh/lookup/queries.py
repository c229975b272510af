"""Queries as vectors: proteins of a FASTA file or a list embedded as they come, or the vectors of a store.

Q queries of a batch, D numbers each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openankh.fasta import Record
from openankh.search.exact import QUERIES_AT_ONCE
from openankh.search.identity import Identities, key_of, keys_of
from openankh.search.vectors import StoreVectors
from openankh.store import EmbeddingStore

if TYPE_CHECKING:
    from openankh.lookup.protein_embedder import ProteinEmbedder


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Some queries: their ids, their vectors (Q, D), and what tells whether they are the proteins searched."""

    ids: tuple[str, ...]
    vectors_QD: NDArray[np.floating]
    identities: Identities


def embedded_queries(records: Iterable[Record], model: "ProteinEmbedder") -> Iterator[QueryBatch]:
    """The records embedded, in batches of about a thousand; in order."""
    pairs = model.embedder.embed(records)
    while part := list(islice(pairs, QUERIES_AT_ONCE)):
        found = tuple(record for record, _ in part)
        yield QueryBatch(
            tuple(record.id for record in found), np.stack([vector for _, vector in part]), identities_of(found)
        )


def stored_queries(vectors: StoreVectors) -> Iterator[QueryBatch]:
    """The vectors of a store, in batches; in order."""
    store = vectors.store
    for start in range(0, len(store), QUERIES_AT_ONCE):
        places = np.arange(start, min(start + QUERIES_AT_ONCE, len(store)))
        ids = tuple(store.id(place) for place in places.tolist())
        known = Identities(keys_of(ids), None, store.lengths[places])
        yield QueryBatch(ids, vectors.rows(places), known)


def identities_of(records: Iterable[Record]) -> Identities:
    """What tells these proteins apart; reads the records once."""
    facts = [(key_of(record.id), key_of(record.sequence), len(record.sequence)) for record in records]
    ids, sequences, lengths = zip(*facts, strict=True) if facts else ((), (), ())
    return Identities(np.array(ids, np.uint64), np.array(sequences, np.uint64), np.array(lengths, np.int64))


def identities_in(store: EmbeddingStore) -> Identities:
    """What tells the proteins of a store apart: it keeps ids and lengths, and no sequences."""
    return Identities(keys_of(store.ids), None, store.lengths)
