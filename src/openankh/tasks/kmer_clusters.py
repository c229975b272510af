"""Clusters of similar sequences by the short words they share: greedy, around the longest sequence of each.

For some ten thousand proteins without other software; MMseqs2 finds more distant relatives and is faster. Proteins that
share fewer words than asked for may still be related: a cluster is a lower bound of what belongs together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod

import numpy as np
from numpy.typing import NDArray

WORD = 4
_MOST_HOLDERS = 2_000
"""A word that more representatives hold tells little, and would cost the most."""
LEAST_SHARE, LEAST_WORDS = 0.05, 4
"""Less, beyond what chance gives, is chance too: the best of 10,000 strangers shares some four words."""
_DEVIATIONS = 3.0
"""How far beyond its expectation chance is believed to go."""


def words_of(sequence: str, length: int = WORD) -> frozenset[str]:
    """The distinct words of a sequence; of a shorter one itself."""
    return frozenset(sequence[at : at + length] for at in range(max(len(sequence) - length + 1, 1)))


def share_for_identity(identity: float, length: int = WORD) -> float:
    """The share of a sequence's words that another of this identity holds, were differences spread evenly."""
    return identity**length


def kmer_clusters(sequences: Sequence[str], identity: float = 0.3) -> NDArray[np.int64]:
    """The number of each sequence's cluster (N,), by falling length of the representatives.

    A sequence joins the representative that holds the most of its words beyond what one so long would hold by chance,
    if that is as large a share as sequences of this identity would have, else it begins a cluster. Below some 47 %
    identity relatives can no longer be told from chance, and identities asked for below that make no difference. Equal
    sequences are always together; the order of the input changes nothing but the numbers.
    """
    order = sorted(range(len(sequences)), key=lambda place: (-len(sequences[place]), sequences[place]))
    threshold = max(share_for_identity(identity), LEAST_SHARE)
    representatives = _Representatives(len(sequences), threshold, letter_shares(sequences))
    known: dict[str, int] = {}
    for place in order:
        sequence = sequences[place]
        if sequence not in known:
            known[sequence] = representatives.join(words_of(sequence))
    return np.array([known[sequence] for sequence in sequences], np.int64)


def letter_shares(sequences: Sequence[str]) -> dict[str, float]:
    """How frequent each letter is in all sequences together."""
    counts = sum(map(Counter, sequences), Counter())
    return {letter: num / counts.total() for letter, num in counts.items()}


class _Representatives:
    """The words of the first, longest sequence of each cluster so far."""

    def __init__(self, most: int, least_share: float, letters: Mapping[str, float]) -> None:
        self._least_share = least_share
        self._letters = letters
        self._holders: dict[str, list[int]] = {}
        self._sizes = np.zeros(most)
        self._num = 0

    def join(self, words: frozenset[str]) -> int:
        """The cluster of a sequence with these words, a new one where none fits."""
        held = [found for word in words if len(found := self._holders.get(word, ())) <= _MOST_HOLDERS]
        if self._num:
            shared = np.bincount(np.fromiter(chain.from_iterable(held), np.int64), minlength=self._num)
            by_chance = self._sizes[: self._num] * self._share_by_chance(words)
            beyond_chance = shared - by_chance - _DEVIATIONS * np.sqrt(by_chance)
            best = int(beyond_chance.argmax())
            if beyond_chance[best] >= max(self._least_share * len(words), min(LEAST_WORDS, len(words)) - 0.5):
                return best
        return self._begin(words)

    def _share_by_chance(self, words: frozenset[str]) -> float:
        """How many of these words each word of a stranger hits, of the same letters in no order."""
        letters = self._letters
        return sum(prod(letters[letter] for letter in word) for word in words)

    def _begin(self, words: frozenset[str]) -> int:
        for word in words:
            self._holders.setdefault(word, []).append(self._num)
        self._sizes[self._num] = len(words)
        self._num += 1
        return self._num - 1
