"""Annotation transfer on CATH: how often the nearest domain has a query's class, architecture, topology, superfamily.

The published protocol (Ankh, 2023, after EAT): Euclidean distance of mean-pooled embeddings; of each query the nearest
lookup domain, those of its own sequence left out; accuracy at a level over the queries whose code at that level occurs
in the lookup set at all. Q queries, N lookup domains, D numbers a domain, 4 levels (C, A, T, H).
"""

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.search.exact import ExactSearch
from openankh.search.identity import Identities, SameProtein, keys_of
from openankh.search.labels import LabelColumn
from openankh.search.nearest_pairs import Neighbours
from openankh.search.vectors import ArrayVectors

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
LEVELS = ("C", "A", "T", "H")
NUM_RESAMPLES = 10_000

Features = Callable[[Sequence[str]], NDArray[np.floating]]
"""From sequences to one row of numbers each."""

PUBLISHED: Mapping[str, tuple[int, int, int, int]] = {
    "Ankh large": (83, 72, 60, 70),
    "Ankh base": (85, 77, 63, 72),
    "ProtT5-XL-U50": (83, 69, 57, 73),
    "ESM-2 15B": (78, 63, 52, 67),
}
"""Published accuracies at C, A, T and H, in per cent (Ankh, 2023)."""


@dataclass(frozen=True)
class Domains:
    """Domains of one file: ids, sequences, and CATH codes cut to their first 1, 2, 3 and 4 numbers (N, 4)."""

    ids: tuple[str, ...]
    sequences: tuple[str, ...]
    codes: NDArray[np.str_]

    @classmethod
    def read(cls, path: Path) -> "Domains":
        """From a compressed table with the columns id, sequence and cath."""
        try:
            with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            cut = [[".".join(row["cath"].split(".")[: level + 1]) for level in range(len(LEVELS))] for row in rows]
            return cls(tuple(row["id"] for row in rows), tuple(row["sequence"] for row in rows), np.array(cut))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; give the folder that holds lookup_s20.csv.gz") from None
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: no table of id, sequence and cath ({error}); copy it again") from None

    def __len__(self) -> int:
        return len(self.ids)

    def drawn(self, number: int) -> "Domains":
        """At most so many of them, always the same ones."""
        if number >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(0).permutation(len(self))[:number])
        ids, sequences = ((tuple(values[at] for at in chosen)) for values in (self.ids, self.sequences))
        return Domains(ids, sequences, self.codes[chosen])

    @cached_property
    def identities(self) -> Identities:
        """What tells the domains apart."""
        return Identities(keys_of(self.ids), keys_of(self.sequences), None)

    @property
    def label(self) -> LabelColumn:
        """Their codes as labels that can be transferred."""
        return LabelColumn("cath", tuple(self.codes[:, -1].tolist()))


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


def nearest_domains(
    queries: Domains, lookup: Domains, queries_QD: NDArray[np.floating], lookup_ND: NDArray[np.floating]
) -> Neighbours:
    """The nearest lookup domain of each query (Q, 1), those of its own id or sequence left out."""
    exclusion = SameProtein(queries.identities, lookup.identities)
    return ExactSearch(ArrayVectors(lookup_ND), "euclidean").search(queries_QD, 1, exclusion)


def hits(queries: Domains, lookup: Domains, features: Features) -> NDArray[np.bool_]:
    """Whether each query's nearest neighbour has its code at each level (Q, 4)."""
    found = nearest_domains(queries, lookup, features(queries.sequences), features(lookup.sequences))
    return hits_of(queries, lookup, found)


def hits_of(queries: Domains, lookup: Domains, found: Neighbours) -> NDArray[np.bool_]:
    """Whether the neighbour found for each query has its code at each level (Q, 4)."""
    return queries.codes == lookup.codes[found.places[:, 0]]


def chances(queries: Domains, lookup: Domains) -> NDArray[np.float64]:
    """How likely a lookup domain drawn at random has each query's code at each level (Q, 4)."""
    return np.stack([(queries.codes[:, at, None] == lookup.codes[:, at]).mean(axis=1) for at in range(4)], axis=1)


def counted(queries: Domains, lookup: Domains) -> NDArray[np.bool_]:
    """Whether each query's code at each level occurs in the lookup set (Q, 4)."""
    return np.stack([np.isin(queries.codes[:, level], lookup.codes[:, level]) for level in range(len(LEVELS))], axis=1)


def accuracies(hits_Q4: NDArray[np.number | np.bool_], counted_Q4: NDArray[np.bool_]) -> dict[str, Interval]:
    """Accuracy at each level; `hits_Q4` may be shares, as of several random models."""
    return {level: _interval(hits_Q4[counted_Q4[:, at], at]) for at, level in enumerate(LEVELS)}


def _interval(hits_Q: NDArray[np.number | np.bool_]) -> Interval:
    if len(hits_Q) == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    draws = np.random.default_rng(0).integers(len(hits_Q), size=(NUM_RESAMPLES, len(hits_Q)))
    low, high = np.percentile(hits_Q[draws].mean(axis=1), (2.5, 97.5))
    return Interval(100 * float(hits_Q.mean()), 100 * float(low), 100 * float(high), len(hits_Q))
