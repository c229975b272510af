"""Clusters of similar sequences by the short words they share: greedy, around the longest sequence of each.

For some ten thousand proteins without other software; MMseqs2 finds more distant relatives and is faster. Proteins that
share fewer words than asked for may still be related: a cluster is a lower bound of what belongs together.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = 4
_MOST_HOLDERS = 2_000
"""A word that more representatives hold tells little, and would cost the most."""
LEAST_SHARE, LEAST_WORDS = 0.05, 4
"""Less is chance: two unrelated proteins of 300 residues share about one word, the best of 10,000 such some four."""


def words_of(sequence: str, length: int = WORD) -> frozenset[str]:
    """The distinct words of a sequence; of a shorter one itself."""
    return frozenset(sequence[at : at + length] for at in range(max(len(sequence) - length + 1, 1)))


def share_for_identity(identity: float, length: int = WORD) -> float:
    """The share of a sequence's words that another of this identity holds, were differences spread evenly."""
    return identity**length


def kmer_clusters(sequences: Sequence[str], identity: float = 0.3) -> NDArray[np.int64]:
    """The number of each sequence's cluster (N,), by falling length of the representatives.

    A sequence joins the representative that holds the largest share of its words, if that is as large as sequences of
    this identity would have, else it begins a cluster. Below some 47 % identity relatives can no longer be told from
    chance, and identities asked for below that make no difference. Equal sequences are always together; the order of
    the input changes nothing but the numbers.
    """
    threshold = max(share_for_identity(identity), LEAST_SHARE)
    order = sorted(range(len(sequences)), key=lambda place: (-len(sequences[place]), sequences[place]))
    holders: dict[str, list[int]] = {}
    known: dict[str, int] = {}
    cluster_N = np.empty(len(sequences), np.int64)
    num_clusters = 0
    for place in order:
        sequence = sequences[place]
        if sequence not in known:
            words = words_of(sequence)
            found = _best(words, holders, threshold)
            if found is None:
                found, num_clusters = num_clusters, num_clusters + 1
                for word in words:
                    holders.setdefault(word, []).append(found)
            known[sequence] = found
        cluster_N[place] = known[sequence]
    return cluster_N


def _best(words: frozenset[str], holders: dict[str, list[int]], threshold: float) -> int | None:
    """The cluster whose representative holds the most of the words, if enough; of equals the first."""
    shared: Counter[int] = Counter()
    for word in words:
        found = holders.get(word, ())
        if len(found) <= _MOST_HOLDERS:
            shared.update(found)
    if not shared:
        return None
    best = min(shared, key=lambda cluster: (-shared[cluster], cluster))
    enough = max(threshold * len(words), min(LEAST_WORDS, len(words)))
    return best if shared[best] >= enough else None
