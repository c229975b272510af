"""How alike proteins are: the nearest natural one of each, and pairs within a set.

Identity is that of a global alignment (BLOSUM62, a gap of n costs 10 + n): identical pairs over all columns. Q
proteins asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from openankh.design.alignment import global_identity
from openankh.judging.composition import AMINO_ACIDS, codes_of

WORD = 3
CANDIDATES = 30
"""Naturals that are aligned with a protein: those that share most of its words."""

PAIRS = 2_000
"""Pairs of a set that are aligned to tell its diversity."""

_BASE = len(AMINO_ACIDS) + 1


@dataclass(frozen=True)
class Nearest:
    """The natural protein that is most alike, by its place in its set, and the identity, from 0 to 1."""

    place: int
    identity: float


class Naturals:
    """Proteins to find the nearest among, by their words of three residues."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = sequences
        self._places: dict[str, int] = {sequence: place for place, sequence in enumerate(sequences)}
        words = [_words(sequence) for sequence in sequences]
        self._num_words = np.array([len(each) for each in words])
        holders = np.repeat(np.arange(len(sequences)), self._num_words)
        all_words = np.concatenate(words) if words else np.zeros(0, np.int64)
        order = np.argsort(all_words, kind="stable")
        self._holders = holders[order].astype(np.int32)
        self._starts = np.searchsorted(all_words[order], np.arange(_BASE**WORD + 1))

    def __contains__(self, sequence: str) -> bool:
        return sequence in self._places

    def nearest(self, sequence: str, *, besides_itself: bool = False) -> Nearest | None:
        """The most alike of those that share the most words; None where there is none to compare with."""
        own = self._places.get(sequence)
        if own is not None and not besides_itself:
            return Nearest(own, 1.0)
        candidates = [int(place) for place in self._candidates(sequence) if place != own]
        found = [Nearest(place, global_identity(sequence, self._sequences[place])) for place in candidates[:CANDIDATES]]
        return max(found, key=lambda each: each.identity, default=None)

    def _candidates(self, sequence: str) -> NDArray[np.intp]:
        """A few more than are aligned, those that share most words (for their own number of words) first."""
        words = _words(sequence)
        parts = [self._holders[self._starts[word] : self._starts[word + 1]] for word in words]
        shared = np.bincount(np.concatenate(parts) if parts else [], minlength=len(self._sequences))
        likeness = shared / np.maximum(self._num_words + len(words) - shared, 1)
        most = min(CANDIDATES + 1, len(likeness))
        top = np.argpartition(-likeness, most - 1)[:most]
        return top[np.lexsort((top, -likeness[top]))]


def pairwise_identities(sequences: Sequence[str], seed: int, num_pairs: int = PAIRS) -> NDArray[np.float64]:
    """Identities of all pairs of proteins, or of so many pairs drawn at random."""
    num = len(sequences)
    total = num * (num - 1) // 2
    if total <= num_pairs:
        pairs = [(one, other) for one in range(num) for other in range(one)]
    else:
        random = Random(seed)
        pairs = [tuple(random.sample(range(num), 2)) for _ in range(num_pairs)]
    return np.array([global_identity(sequences[one], sequences[other]) for one, other in pairs])


def _words(sequence: str) -> NDArray[np.int64]:
    """The different words of a protein as numbers."""
    codes_L = codes_of(sequence)
    if len(codes_L) < WORD:
        return np.zeros(0, np.int64)
    return np.unique(codes_L[:-2] * _BASE**2 + codes_L[1:-1] * _BASE + codes_L[2:])


def typical(sequences: Sequence[str]) -> int:
    """The place of a protein like most of the others: of those about as long as the median one, that whose words are
    the most common.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    words = [_words(sequence) for sequence in sequences]
    counts = np.bincount(np.concatenate(words), minlength=_BASE**WORD)
    commonness = np.array([counts[each].mean() if len(each) else 0.0 for each in words])
    return int(np.argmax(np.where(np.abs(lengths - np.median(lengths)) <= 0.1 * np.median(lengths), commonness, -1)))
