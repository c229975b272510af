"""Means of proteins from rows of residues that are there already, so that no protein is embedded twice.

L residues, D width.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.cached_states import Preprocessing, RowSource


class PooledRows:
    """The mean row (1, D) of each protein, formed when it is first asked for and kept: D numbers a protein."""

    def __init__(self, residues: RowSource) -> None:
        self._residues = residues
        self._means: dict[str, NDArray[np.float32]] = {}

    @property
    def preprocessing(self) -> Preprocessing:
        """How the rows were made."""
        return replace(self._residues.preprocessing, pool="mean")

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The mean row (1, D)."""
        if sequence not in self._means:
            rows_LD = self._residues.rows(sequence)
            self._means[sequence] = rows_LD.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
        return self._means[sequence]
