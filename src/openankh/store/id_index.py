"""Where the protein of an id is: a sorted table of hashes beside the shards, mapped, so that millions open at once.

A safetensors file of two tensors: `hashes` (N,), the first 8 bytes of each id's BLAKE2b as a little-endian number, in
ascending order, and `places` (N,), the protein each belongs to. Equal hashes stand in the order of the proteins. It
follows from the ids alone, so a store without it is read all the same.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.files import atomic_file, sha256_of
from openankh.store.mapping import mapped_bytes
from openankh.store.shard import safetensors_header

INDEX_NAME = "ids.safetensors"
_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class IndexEntry:
    """What a manifest says of the index: its name, its bytes and their hash."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, eq=False)
class IdIndex:
    """Hashes of ids in ascending order, and the place of the protein of each."""

    hashes: NDArray[np.uint64]
    places: NDArray[np.int64]

    def candidates(self, name: bytes) -> list[int]:
        """Places that may be of this id, in order: all that are, and by chance another."""
        wanted = np.frombuffer(_digest(name), "<u8")[0]
        first, last = np.searchsorted(self.hashes, wanted, "left"), np.searchsorted(self.hashes, wanted, "right")
        return self.places[first:last].tolist()


class IndexBuilder:
    """Takes ids in their order, 8 bytes of each, and sorts them into an index: 24 bytes an id meanwhile, then 16."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._digests) // 8

    def add(self, ids: Iterable[bytes]) -> None:
        """Take the ids that come next."""
        for name in ids:
            self._digests += _digest(name)

    def build(self) -> IdIndex:
        """The index of all ids so far."""
        hashes = np.frombuffer(bytes(self._digests), "<u8")
        order = np.argsort(hashes, kind="stable")
        return IdIndex(hashes[order], order.astype("<i8", copy=False))


def index_of(ids: Iterable[bytes]) -> IdIndex:
    """The index of ids in their order."""
    builder = IndexBuilder()
    builder.add(ids)
    return builder.build()


def write_index(folder: Path, index: IdIndex) -> IndexEntry:
    """Write the index of a store durably, whole or not at all; returns its entry."""
    path = folder / INDEX_NAME
    header, size = safetensors_header(_tensors(len(index.hashes)))
    with atomic_file(path, needed_bytes=size) as file:
        file.write(header)
        for table in (index.hashes, index.places):
            for start in range(0, len(table), _AT_A_TIME):
                file.write(table[start : start + _AT_A_TIME].tobytes())
    return IndexEntry(INDEX_NAME, size, sha256_of(path))


def read_index(path: Path, num_records: int) -> IdIndex | None:
    """The index of so many ids, mapped; None for a file that is not as one is written."""
    header, size = safetensors_header(_tensors(num_records))
    content = mapped_bytes(path)
    if len(content) != size or content[: len(header)].tobytes() != header:
        return None
    middle = len(header) + 8 * num_records
    return IdIndex(content[len(header) : middle].view("<u8"), content[middle:].view("<i8"))


def index_bytes(num_records: int) -> int:
    """The size of the index of so many ids."""
    return safetensors_header(_tensors(num_records))[1]


def _digest(name: bytes) -> bytes:
    return hashlib.blake2b(name, digest_size=8).digest()


def _tensors(num_records: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    return {"hashes": ("U64", (num_records,), 8), "places": ("I64", (num_records,), 8)}
