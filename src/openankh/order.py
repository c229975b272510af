"""The order in which documents are read: a keyed shuffle of each epoch that is computed, never stored.

Legend: `N` positions asked for at once.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import numpy as np
import numpy.typing as npt

_FEW_DOCUMENTS = 1024
_NUM_ROUNDS, _NUM_ROUNDS_OF_FEW = 6, 24  # both even, so that the sides end as they began; tiny sides mix slowly
_EPOCH_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, made odd: neighbouring epochs get far apart keys
_ROUND_STEP = 0xD1B54A32D192ED03
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Order:
    """An endless sequence of epochs, each a fresh permutation of `num` documents chosen by `seed`.

    A position is one integer, epoch * num + place; any position is answered at once in O(1) memory, so a run resumes
    from that integer alone, whatever the number of workers or ranks. The mapping is part of the checkpoint format: a
    change of it would silently repeat and skip documents on resuming.

    A Feistel network on pairs (left, right) below (a, b), a * b just over num, adds a keyed hash of one side to the
    other; pairs beyond num walk on until they fall inside, which keeps the map a bijection of exactly num documents.
    """

    num: int
    seed: int

    def __post_init__(self) -> None:
        assert 1 <= self.num < 2**62, "an order needs at least one document, and fewer than 2**62"
        assert 0 <= self.seed < 2**64, "a seed is a number from 0 to 2**64 - 1"

    def at(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Document indices int64 (N,) at these positions (any integers >= 0, in any order, repeated or not)."""
        position_N = np.asarray(positions, dtype=np.int64)
        assert position_N.size == 0 or position_N.min() >= 0, "positions count from 0"
        epoch_N, place_N = np.divmod(position_N.ravel(), self.num)
        key_N = _mix(epoch_N.astype(np.uint64) * _EPOCH_STEP + self._seed_key)
        index_N = self._permute(place_N.astype(np.uint64), key_N)
        outside = np.flatnonzero(index_N >= self.num)
        while outside.size:
            index_N[outside] = self._permute(index_N[outside], key_N[outside])
            outside = outside[index_N[outside] >= self.num]
        return index_N.astype(np.int64).reshape(position_N.shape)

    @cached_property
    def _seed_key(self) -> np.uint64:
        return _mix(np.array([self.seed], dtype=np.uint64) + _EPOCH_STEP)[0]

    @cached_property
    def _sides(self) -> tuple[int, int]:
        left = isqrt(self.num - 1) + 1
        return left, -(-self.num // left)

    def _permute(self, index_N: npt.NDArray[np.uint64], key_N: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        size, other_size = (np.uint64(side) for side in self._sides)
        half_N, other_N = np.divmod(index_N, other_size)
        for number in range(_NUM_ROUNDS if self.num >= _FEW_DOCUMENTS else _NUM_ROUNDS_OF_FEW):
            round_key_N = key_N + np.uint64((number + 1) * _ROUND_STEP % 2**64)
            # The upper 32 bits of the hash, scaled to the side: cheaper than a remainder.
            half_N = half_N + ((_mix(_mix(round_key_N) + other_N) >> _HALF) * size >> _HALF)
            half_N -= np.where(half_N >= size, size, np.uint64(0))
            half_N, other_N, size, other_size = other_N, half_N, other_size, size
        return half_N * other_size + other_N


def _mix(word_N: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: every input bit moves every output bit."""
    word_N = (word_N ^ (word_N >> np.uint64(30))) * _MIX_1
    word_N = (word_N ^ (word_N >> np.uint64(27))) * _MIX_2
    return word_N ^ (word_N >> np.uint64(31))
