"""Arrays of sequences that come again, so that each is computed once: as many as a limit of bytes holds."""

from collections import OrderedDict
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 128 << 20
"""What is kept at most: 43,000 pooled vectors of 768 numbers in fp32, or the rows of 43,000 residues."""

_ENTRY_BYTES = 300
"""About what a dictionary's entry and its objects take beside the letters and the numbers."""


class Reuse:
    """Remembers arrays by their sequence, the least recently used going first.

    `expected` are the hashes of the sequences known to come more than once (see `survey`): others are not kept. None
    where nothing is known of the input: then all are.
    """

    def __init__(self, expected: Collection[int] | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._expected = expected
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._arrays: OrderedDict[str, NDArray[np.floating]] = OrderedDict()

    def find(self, sequence: str) -> NDArray[np.floating] | None:
        """A copy of the array of this sequence, if it is still here: whoever gets it may change it."""
        array = self._arrays.get(sequence)
        if array is None:
            return None
        self._arrays.move_to_end(sequence)
        return array.copy()

    def keep(self, sequence: str, array: NDArray[np.floating]) -> None:
        """Remember a copy of the array, unless the sequence is not to come again or the array is too large."""
        size = _size(sequence, array)
        if size > self._max_bytes or (self._expected is not None and hash(sequence) not in self._expected):
            return
        self._arrays[sequence] = array.copy()
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= _size(*self._arrays.popitem(last=False))


def _size(sequence: str, array: NDArray[np.floating]) -> int:
    return len(sequence) + array.nbytes + _ENTRY_BYTES
