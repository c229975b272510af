"""Vectors to search among, one a protein, read in order a block at a time or at random.

N vectors, D numbers each, B vectors of a block, K layers of a store.
"""

import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.store import Dtype, EmbeddingStore, Provenance
from openankh.store.numbers import from_stored

if TYPE_CHECKING:
    import torch

WIDENED_BYTES = 8 << 20
"""What is widened to float32 at once stays in the cache until it has been used."""
MAPPED_BYTES = 64 << 20
"""Rows that are float32 already come in larger blocks: the fewer, the less often threads wait for each other."""
_LARGE = 50_000_000
"""From so many numbers on PyTorch's widening, ten times numpy's speed, makes up for importing it."""


class Vectors(Protocol):
    """What can be searched among."""

    @property
    def width(self) -> int:
        """Numbers of each vector: D."""
        ...

    def __len__(self) -> int: ...

    def blocks(self, *, keep: bool = False) -> Iterator[NDArray[np.float32]]:
        """All vectors in order, (B, D) at a time; a block holds until the next is asked for.

        With `keep` files stay mapped, which pays when all is read again; without, reading all takes no memory.
        """
        ...

    def rows(self, places: NDArray[np.integer], *, keep: bool = True) -> NDArray[np.float32]:
        """The vectors at these places (P,), in that order: (P, D); `keep` as for `blocks`."""
        ...


class ArrayVectors:
    """Vectors in memory (N, D)."""

    def __init__(self, vectors_ND: NDArray[np.floating]) -> None:
        assert vectors_ND.ndim == 2
        self._vectors_ND = np.ascontiguousarray(vectors_ND, np.float32)

    @property
    def width(self) -> int:
        """Numbers of each vector."""
        return self._vectors_ND.shape[1]

    def __len__(self) -> int:
        return len(self._vectors_ND)

    def blocks(self, *, keep: bool = False) -> Iterator[NDArray[np.float32]]:
        """All vectors, as `Vectors.blocks`."""
        return _cut(self._vectors_ND, _num_rows(MAPPED_BYTES, self.width))

    def rows(self, places: NDArray[np.integer], *, keep: bool = True) -> NDArray[np.float32]:
        """The vectors at these places."""
        return self._vectors_ND[places]


class StoreVectors:
    """One layer of a pooled store, mapped from its files; bf16 and fp16 are widened a block at a time.

    `layer` as the store's provenance names it; None where there is only one. Raises UserError for a store of residues
    and for a layer that is not there, or not chosen.
    """

    def __init__(self, store: EmbeddingStore, layer: int | None = None) -> None:
        self.store = store
        self.layer = layer_of(store.provenance, layer, str(store.folder))
        self._at = store.provenance.layers.index(self.layer)
        self._num_layers = store.provenance.num_layers
        self._dtype: Dtype = store.provenance.dtype
        self._is_large = len(store) * store.width > _LARGE

    @property
    def width(self) -> int:
        """Numbers of each vector."""
        return self.store.width

    def __len__(self) -> int:
        return len(self.store)

    def blocks(self, *, keep: bool = False) -> Iterator[NDArray[np.float32]]:
        """All vectors, as `Vectors.blocks`."""
        for stored in self.store.matrices(keep=keep):
            mine = stored.reshape(-1, self._num_layers, self.width)[:, self._at]
            if self._dtype == "fp32":
                yield from _cut(mine, _num_rows(MAPPED_BYTES, self.width))
            elif self._is_large:
                yield from _widened(mine, self._dtype)
            else:
                parts = _cut(mine, _num_rows(WIDENED_BYTES, self.width))
                yield from (from_stored(part, self._dtype).astype(np.float32, copy=False) for part in parts)

    def rows(self, places: NDArray[np.integer], *, keep: bool = True) -> NDArray[np.float32]:
        """The vectors at these places; without `keep` read, not mapped: a page touched brings its neighbours."""
        found = np.empty((len(places), self.width), np.float32)
        if not keep:
            for number in np.argsort(places, kind="stable").tolist():
                found[number] = self.store[int(places[number])].reshape(self._num_layers, self.width)[self._at]
            return found
        numbers = np.searchsorted(self._firsts, places, "right") - 1
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            rows = (places[here] - self._firsts[number]) * self._num_layers + self._at
            found[here] = from_stored(self._matrices[number][rows], self._dtype)
        return found

    @cached_property
    def _matrices(self) -> list[NDArray]:
        """The rows of every shard, mapped anew, so that only the pages read at random stay in memory."""
        return list(self.store.matrices())

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """The place of the first vector of each shard."""
        counts = [len(rows) // self._num_layers for rows in self._matrices]
        return np.cumsum([0, *counts[:-1]])


def layer_of(provenance: Provenance, layer: int | None, name: str) -> int:
    """The layer that is searched, when the store has one vector a protein of it; else UserError with the remedy."""
    if provenance.is_per_residue:
        raise UserError(
            f"{name}: holds one row a residue, and search compares one vector a protein; "
            "embed with --pool mean (or max) and search that"
        )
    layers = ", ".join(map(str, provenance.layers))
    if layer is None and provenance.num_layers > 1:
        raise UserError(f"{name}: holds the layers {layers}; choose one with --layer")
    if layer is not None and layer not in provenance.layers:
        raise UserError(f"{name}: has no layer {layer}; it holds {layers}")
    return provenance.layers[0] if layer is None else layer


def _num_rows(num_bytes: int, width: int) -> int:
    """How many rows of float32 take so many bytes."""
    return max(num_bytes // (4 * width), 1)


def _cut(rows: NDArray, size: int) -> Iterator[NDArray]:
    return (np.ascontiguousarray(rows[start : start + size]) for start in range(0, len(rows), size))


def _widened(stored_ND: NDArray, dtype: Dtype) -> Iterator[NDArray[np.float32]]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that mapped rows are read-only: they are only read
        rows_ND = torch.from_numpy(stored_ND)
    if dtype == "bf16":
        rows_ND = rows_ND.view(torch.bfloat16)
    block_BD = torch.empty(_num_rows(WIDENED_BYTES, stored_ND.shape[1]), stored_ND.shape[1])
    for part in rows_ND.split(len(block_BD)):
        yield _copied(part, block_BD[: len(part)]).numpy()


def _copied(stored: "torch.Tensor", widened: "torch.Tensor") -> "torch.Tensor":
    """Widened by this thread alone: PyTorch's threads and those of the products, in turns, would wait for each other at
    every block (18 times as long)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return widened.copy_(stored)
    finally:
        torch.set_num_threads(threads)
