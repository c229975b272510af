"""How much the columns of a family vary: Shannon entropies of aligned proteins, and how far two sets differ in them.

N proteins, C columns (the profile's match states).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 20
"""Residues below which a column's entropy is not taken; of fewer than twice as many proteins, half of them."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Of each column the entropy of its amino acids in bits (not a number where they are few), and how many proteins
    have a residue there.
    """

    entropies_C: NDArray[np.float64]
    occupancies_C: NDArray[np.float64]


def columns_of(codes_NC: NDArray[np.integer]) -> Columns:
    """Of aligned proteins: amino acids are 0 to 19, whatever is more is a gap or no single amino acid."""
    counts_20C = np.stack([(codes_NC == code).sum(axis=0) for code in range(20)]).astype(np.float64)
    totals_C = counts_20C.sum(axis=0)
    shares_20C = counts_20C / np.maximum(totals_C, 1)
    logs_20C = np.log2(shares_20C, out=np.zeros_like(shares_20C), where=shares_20C > 0)
    entropies_C = -(shares_20C * logs_20C).sum(axis=0) + 0.0
    entropies_C[totals_C < min(FEWEST, max(len(codes_NC) // 2, 2))] = np.nan
    return Columns(entropies_C, totals_C / max(len(codes_NC), 1))


@dataclass(frozen=True)
class EntropyDifference:
    """How far the entropies of a set are from the natural ones, over the columns where both are known.

    The mean squared difference in squared bits and in squared nats, and Pearson's correlation.
    """

    squared_bits: float
    squared_nats: float
    correlation: float
    num_columns: int


def entropy_difference(columns: Columns, natural: Columns) -> EntropyDifference:
    """Compare a set with naturals; not a number where fewer than two columns are known of both."""
    both_C = ~np.isnan(columns.entropies_C) & ~np.isnan(natural.entropies_C)
    num = int(both_C.sum())
    if num < 2:
        return EntropyDifference(float("nan"), float("nan"), float("nan"), num)
    ours, theirs = columns.entropies_C[both_C], natural.entropies_C[both_C]
    squared = float(np.mean(np.square(ours - theirs)))
    varies = ours.std() > 1e-9 and theirs.std() > 1e-9  # a thousandth of a bit is no variation, only rounding
    correlation = float(np.corrcoef(ours, theirs)[0, 1]) if varies else float("nan")
    return EntropyDifference(squared, squared * float(np.log(2)) ** 2, correlation, num)
