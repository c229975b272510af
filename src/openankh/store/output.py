"""Where embeddings go: what all formats share, and the choice of one by the name of the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.store.journal import ShardLimits


@dataclass(frozen=True, eq=False)
class Embedding:
    """The array of one protein, of the shape `Provenance.shape_of` tells, with its id and number of residues."""

    id: str
    length: int
    values: NDArray[np.floating]


class Output(Protocol):
    """An embedding file or store being written."""

    @property
    def num_done(self) -> int:
        """Proteins that an earlier run has left safely on disk: where to continue."""
        ...

    @property
    def limits(self) -> ShardLimits | None:
        """Where its shards end; None where it has none."""
        ...

    @property
    def num_residues_done(self) -> int:
        """Residues of those proteins."""
        ...

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order."""
        ...

    def finish(self, input_sha256: str) -> None:
        """Say that all was written; without it nothing comes to stand at the target."""
        ...
