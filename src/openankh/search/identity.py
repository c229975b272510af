"""Which proteins are the same: those of one id, and those of one sequence.

P pairs of a query and a protein searched.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

SAME_VECTOR = 1e-5
"""Without sequences at hand: vectors of proteins of one length count as one protein's when they differ by less than
this share of their norm. The same sequence in other company differs by 1e-6 in fp32; a point mutant by far more."""


def key_of(text: str) -> int:
    """A 64-bit hash of a text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def keys_of(texts: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each text."""
    return np.fromiter(map(key_of, texts), np.uint64)


@dataclass(frozen=True, eq=False)
class Identities:
    """What tells proteins apart: keys of ids (N,) and of sequences (N,), residues (N,); sequences and residues None
    where they are not known.
    """

    ids: NDArray[np.uint64]
    sequences: NDArray[np.uint64] | None
    lengths: NDArray[np.int64] | None

    def part(self, places: NDArray[np.intp]) -> "Identities":
        """Those of the proteins at these places."""
        sequences = None if self.sequences is None else self.sequences[places]
        return Identities(self.ids[places], sequences, None if self.lengths is None else self.lengths[places])


@dataclass(frozen=True, eq=False)
class SameProtein:
    """Tells whether a query and a protein searched are the same."""

    queries: Identities
    searched: Identities

    def is_barred(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each pair is surely one protein: one id, or where both sequences are known one sequence."""
        same = self.queries.ids[queries_P] == self.searched.ids[places_P]
        if self.queries.sequences is not None and self.searched.sequences is not None:
            same |= self.queries.sequences[queries_P] == self.searched.sequences[places_P]
        return same

    def is_suspect(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each pair is one protein should their vectors be the same."""
        if self.queries.sequences is not None and self.searched.sequences is not None:
            return np.zeros(len(queries_P), np.bool_)
        if self.queries.lengths is None or self.searched.lengths is None:
            return np.ones(len(queries_P), np.bool_)
        return self.queries.lengths[queries_P] == self.searched.lengths[places_P]

    def of_queries(self, queries: NDArray[np.intp]) -> "SameProtein":
        """The same for these of the queries."""
        return SameProtein(self.queries.part(queries), self.searched)


@dataclass(frozen=True, eq=False)
class OwnPlace:
    """For queries that are themselves among the proteins searched: each is barred at its own place (Q,)."""

    places_Q: NDArray[np.intp]

    def is_barred(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each pair is a protein with itself."""
        return self.places_Q[queries_P] == places_P

    def is_suspect(self, queries_P: NDArray[np.intp], places_P: NDArray[np.intp]) -> NDArray[np.bool_]:
        """No other pair is left out."""
        return np.zeros(len(queries_P), np.bool_)

    def of_queries(self, queries: NDArray[np.intp]) -> "OwnPlace":
        """The same for these of the queries."""
        return OwnPlace(self.places_Q[queries])


Exclusion = SameProtein | OwnPlace
"""Which pairs do not count as neighbours."""
