"""What proteins are made of, whatever their order: shares of amino acids, and stretches of low complexity."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
WINDOW, LOW_BITS = 12, 2.2
"""SEG's trigger (Wootton and Federhen, 1993): a window of 12 residues with at most 2.2 bits of entropy."""

_NO_LETTER = len(AMINO_ACIDS)
_CODES = np.full(256, _NO_LETTER, np.int64)
_CODES[np.frombuffer(AMINO_ACIDS.encode(), np.uint8)] = np.arange(len(AMINO_ACIDS))


def codes_of(sequence: str) -> NDArray[np.int64]:
    """A number from 0 to 19 for each amino acid, 20 for any other letter, (L,)."""
    return _CODES[np.frombuffer(sequence.encode("ascii"), np.uint8)]


def shares(sequences: Sequence[str]) -> NDArray[np.float64]:
    """How much of all residues each amino acid makes, (20,)."""
    counts_20 = np.bincount(codes_of("".join(sequences)), minlength=_NO_LETTER + 1)[:_NO_LETTER]
    return counts_20 / max(counts_20.sum(), 1)


def divergence(one_20: NDArray[np.floating], other_20: NDArray[np.floating]) -> float:
    """Jensen-Shannon divergence of two compositions in bits: 0 for equal ones, 1 at most."""
    mean_20 = (one_20 + other_20) / 2
    return float((_bits(mean_20)) - (_bits(one_20) + _bits(other_20)) / 2)


def _bits(shares_20: NDArray[np.floating]) -> float:
    """Shannon entropy."""
    there = shares_20[shares_20 > 0]
    return float(-(there * np.log2(there)).sum())


def low_complexity(sequence: str) -> float:
    """The share of residues that lie in a window of low complexity."""
    if len(sequence) < WINDOW:
        return 0.0
    one_hot_LV = np.eye(256, dtype=np.int32)[np.frombuffer(sequence.encode("ascii"), np.uint8)]
    sums_LV = np.concatenate([np.zeros((1, 256), np.int32), np.cumsum(one_hot_LV, axis=0, dtype=np.int32)])
    counts_WV = sums_LV[WINDOW:] - sums_LV[:-WINDOW]
    is_low_W = _ENTROPY_TERMS[counts_WV].sum(axis=1) <= LOW_BITS + 1e-9
    is_covered_L = np.convolve(is_low_W, np.ones(WINDOW), "full") > 0
    return float(is_covered_L.mean())


_ENTROPY_TERMS = np.array([0.0, *(-n / WINDOW * math.log2(n / WINDOW) for n in range(1, WINDOW + 1))])
"""What a letter that occurs so often adds to the entropy of a window."""
