"""A scan: the scores of all single substitutions of a protein. L residues, 20 amino acids."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.mutation import Mutation

COLUMNS = "ACDEFGHIKLMNPQRSTVWY"
"""The amino acids of a scan's columns, in this order."""


@dataclass(frozen=True, eq=False)
class Scan:
    """`raw_L20` and `calibrated_L20`: column i is the substitution by `COLUMNS[i]`, 0 where that is the wild type."""

    wild_type: str
    raw_L20: NDArray[np.float64]
    calibrated_L20: NDArray[np.float64]

    def __iter__(self) -> Iterator[tuple[Mutation, float, float]]:
        """All single substitutions with both scores, position by position; the wild type's own residues left out."""
        for mutation in singles(self.wild_type):
            row, column = mutation.position - 1, COLUMNS.index(mutation.mutant)
            yield mutation, float(self.raw_L20[row, column]), float(self.calibrated_L20[row, column])


def singles(wild_type: str) -> Iterator[Mutation]:
    """All single substitutions by amino acids, position by position."""
    for position, old in enumerate(wild_type, start=1):
        yield from (Mutation(old, position, new) for new in COLUMNS if new != old)
