"""Writing one split of a corpus: token shards and index, in constant memory, hashed on the way."""

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.corpus_manifest import FileEntry, Shard, Split, shard_name, split_file_names

SHARD_RESIDUES = 1 << 28
"""A shard is closed before it would grow beyond this, unless one protein alone does."""


class SplitWriter(AbstractContextManager["SplitWriter"]):
    """Writes one split's shards and index, hashing what it writes; leaving its block closes what is open."""

    def __init__(self, folder: Path, name: str, shard_residues: int):
        (folder / name).mkdir()
        self._folder, self._name, self._shard_residues = folder, name, shard_residues
        offsets_name, lengths_name = split_file_names(name, num_shards=0)
        self._offsets, self._lengths = _HashedFile(folder, offsets_name), _HashedFile(folder, lengths_name)
        self._offsets.write(np.zeros(1, dtype="<i8"))
        self._tokens: _HashedFile | None = None
        self._shards: list[Shard] = []
        self._proteins_in_shard = self._longest = self.num_proteins = self.num_residues = 0

    def write(self, ids_N: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """Append proteins: their residue ids end to end (N,) and offsets int64 (B + 1,)."""
        length_B = np.diff(offsets)
        assert length_B.size == 0 or 0 < length_B.min() <= length_B.max() < 2**31, (
            "a protein of 1 to 2**31 - 1 residues"
        )
        first = 0
        while first < length_B.size:
            stop = self._fitting(offsets, first)
            self._append(ids_N[offsets[first] : offsets[stop]], stop - first)
            first = stop
        self._offsets.write((offsets[1:] + self.num_residues).astype("<i8"))
        self._lengths.write(length_B.astype("<i4"))
        self.num_proteins += length_B.size
        self.num_residues += int(offsets[-1])
        self._longest = max(self._longest, int(length_B.max(initial=0)))

    def finish(self) -> Split:
        """Close the files; returns what the manifest says of them."""
        self._close_shard()
        return Split(
            num_proteins=self.num_proteins,
            num_residues=self.num_residues,
            longest=self._longest,
            shards=tuple(self._shards),
            offsets=self._offsets.close(),
            lengths=self._lengths.close(),
        )

    def __exit__(self, *exception: object) -> None:
        for file in (self._offsets, self._lengths, self._tokens):
            if file is not None:
                file.close()

    def _fitting(self, offsets: NDArray[np.int64], first: int) -> int:
        """How far the proteins from `first` on fit into the open shard; a new one takes at least one."""
        room = self._shard_residues - (self._tokens.size if self._tokens else 0)
        stop = int(np.searchsorted(offsets, offsets[first] + room, side="right")) - 1
        if stop > first:
            return stop
        if self._tokens is None:
            return first + 1
        self._close_shard()
        return self._fitting(offsets, first)

    def _append(self, ids: NDArray[np.uint8], num_proteins: int) -> None:
        if self._tokens is None:
            self._tokens = _HashedFile(self._folder, shard_name(self._name, len(self._shards)))
        self._tokens.write(ids)
        self._proteins_in_shard += num_proteins

    def _close_shard(self) -> None:
        if self._tokens is not None:
            self._shards.append(Shard(self._tokens.close(), self._proteins_in_shard))
        self._tokens, self._proteins_in_shard = None, 0


class _HashedFile:
    """A new file that knows its size and hash without being read again."""

    def __init__(self, folder: Path, name: str):
        self.name, self.size = name, 0
        self._hash = hashlib.sha256()
        self._file = open(folder / name, "xb", buffering=0)  # noqa: SIM115  (lives as long as its split)

    def write(self, values: NDArray[Any]) -> None:
        content = np.ascontiguousarray(values).data.cast("B")
        self._hash.update(content)
        while content:
            content = content[self._file.write(content) :]
        self.size += values.nbytes

    def close(self) -> FileEntry:
        self._file.close()
        return FileEntry(self.name, self.size, self._hash.hexdigest())
