"""Whether every byte of an embedding store is as it was written: all files read, all damage found and placed."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openankh.errors import UserError
from openankh.store.id_index import IdIndex, IndexBuilder, read_index
from openankh.store.journal import JOURNAL_NAME, read_journal
from openankh.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from openankh.store.shard_reader import Shard

OnBytes = Callable[[int], None]
"""Hears how many bytes were read so far."""

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written; for a shard the places of its proteins, `first` to `last`."""

    file: str
    reason: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Verification:
    """What reading a whole store found; `strangers` are files that are none of the store's.

    `is_finished` is False for a store that a run is to go on with: then the counts are of what is safe so far.
    """

    num_proteins: int
    num_shards: int
    num_bytes: int
    is_finished: bool
    damages: tuple[Damage, ...]
    strangers: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages


def verify_store(folder: Path, on_bytes: OnBytes = lambda num_bytes: None) -> Verification:
    """Read every byte of a store, finished or not; UserError when it is none, or its manifest is damaged."""
    manifest, is_finished = manifest_or_journal(folder)
    damages = tuple(damages_of(folder, manifest, Reading(on_bytes)))
    own = {MANIFEST_NAME, JOURNAL_NAME, *(shard.name for shard in manifest.shards)}
    own |= {manifest.index.name} if manifest.index else set()
    strangers = tuple(sorted(entry.name for entry in folder.iterdir() if entry.name not in own))
    return Verification(manifest.num_records, len(manifest.shards), manifest.num_bytes, is_finished, damages, strangers)


def manifest_or_journal(folder: Path) -> tuple[Manifest, bool]:
    """What a store says of itself, and whether it is finished; UserError when the folder holds none."""
    if (folder / MANIFEST_NAME).is_file() or not (folder / JOURNAL_NAME).is_file():
        return read_manifest(folder), True
    begun = read_journal(folder)
    assert begun is not None
    return Manifest(begun[0], begun[2]), False


def damages_of(folder: Path, manifest: Manifest, reading: "Reading") -> Iterator[Damage]:
    """Every file of a store that is not as its manifest says."""
    first = 0
    builder = IndexBuilder()
    for entry in manifest.shards:
        path = folder / entry.name
        reason = reading.difference(path, entry.size, entry.sha256)
        if reason is None:
            try:
                builder.add(Shard(path, entry, manifest.provenance).id_bytes())
            except UserError as error:
                reason = str(error)
        if reason is not None:
            yield Damage(entry.name, reason, first, first + entry.num_records - 1)
        first += entry.num_records
    if manifest.index is not None:
        index = manifest.index
        reason = reading.difference(folder / index.name, index.size, index.sha256)
        is_known = reason is None and len(builder) == first
        if is_known and not _are_equal(read_index(folder / index.name, first), builder.build()):
            reason = "it is not the index of these ids"
        if reason is not None:
            yield Damage(index.name, reason)


class Reading:
    """Reads files and tells the bytes read of all of them."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._num_bytes = 0

    def difference(self, path: Path, size: int, sha256: str) -> str | None:
        """How a file differs from what was written, None when it does not."""
        if not path.is_file():
            return "it is missing"
        found = path.stat().st_size
        if found != size:
            return f"{found:,} bytes where {size:,} were written"
        digest = hashlib.sha256()
        try:
            with open(path, "rb", buffering=0) as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
                    self._num_bytes += len(block)
                    self._on_bytes(self._num_bytes)
        except OSError as error:
            return f"it cannot be read: {str(error.strerror).lower()}"
        return None if digest.hexdigest() == sha256 else "its SHA-256 differs from the manifest's"


def _are_equal(one: IdIndex | None, other: IdIndex) -> bool:
    if one is None:
        return False
    return np.array_equal(one.hashes, other.hashes) and np.array_equal(one.places, other.places)
