"""Sequences laid end to end with their boundaries: the form in which everything here handles many proteins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Packed:
    """`ids` (N,) of all sequences; number b is `ids[offsets[b]:offsets[b + 1]]`, so `offsets` is (B+1,)."""

    ids: NDArray[np.integer]
    offsets: NDArray[np.int64]

    @classmethod
    def join(cls, sequences: Sequence[NDArray[np.integer]]) -> "Packed":
        """Lay the given sequences end to end."""
        offsets = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
        return cls(np.concatenate(sequences) if sequences else np.zeros(0, np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.integer]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each sequence, (B,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each position the number of the sequence it belongs to, (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> NDArray[np.int64]:
        """For each position its 0-based place inside its own sequence, (N,)."""
        return np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], self.lengths)
