"""Writing an embedding store so that a killed run loses at most one shard and what looks complete is complete.

Everything happens in `OUT.partial`, beside the target. A shard is written to a temporary name, made durable, renamed,
then acknowledged in the journal; the index and last the manifest are written; then the folder takes the target's name.
Running the same command again continues after the last acknowledged shard.
"""

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from openankh.errors import UserError
from openankh.files import (
    FullDiskError,
    free_bytes,
    fsync_folder,
    full_disk_reason,
    put_folder_in_place,
    remove_temporaries_of,
)
from openankh.store.id_index import INDEX_NAME, index_of, write_index
from openankh.store.journal import JOURNAL_NAME, Begun, Journal, ShardLimits, read_journal
from openankh.store.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance
from openankh.store.shard import ShardContent, ShardEntry, shard_name, write_shard
from openankh.store.shard_reader import Shard


class StoreWriter:
    """Collects proteins and writes a shard whenever a limit is reached at the end of a batch."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._pending: list[Embedding] = []
        self._pending_bytes = self._pending_residues = 0
        self.is_finished = False

    @property
    def num_done(self) -> int:
        """Proteins that are safely on disk: where to continue."""
        return self._journal.num_records

    @property
    def num_residues_done(self) -> int:
        """Residues that are safely on disk."""
        return self._journal.num_residues

    @property
    def limits(self) -> ShardLimits:
        """Where its shards end."""
        return self._journal.limits

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order. Shards end with a batch, so that a continued run forms the same batches."""
        for embedding in batch:
            assert embedding.values.shape == self._journal.provenance.shape_of(embedding.length), embedding.id
            self._pending_bytes += embedding.values.nbytes
            self._pending_residues += embedding.length
        self._pending.extend(batch)
        limits = self._journal.limits
        if self._pending_bytes >= limits.num_bytes or self._pending_residues >= limits.num_residues:
            self._write_shard()

    def finish(self, input_sha256: str) -> None:
        """Write what is pending and then the manifest."""
        if self._pending:
            self._write_shard()
        complete_store(self._folder, self._journal.provenance.of_input(input_sha256), self._journal.shards)
        self.is_finished = True

    def _write_shard(self) -> None:
        ids, lengths, arrays = zip(*((e.id, e.length, e.values) for e in self._pending), strict=True)
        path = self._folder / shard_name(len(self._journal.shards))
        self._journal.acknowledge(write_shard(path, ShardContent(ids, lengths, arrays), self._journal.provenance))
        self._pending.clear()
        self._pending_bytes = self._pending_residues = 0


@contextmanager
def writing_store(
    target: Path,
    provenance: Provenance,
    *,
    overwrite: bool = False,
    limits: ShardLimits | None = None,
    needed_bytes: int | None = None,
) -> Iterator[StoreWriter]:
    """Write the store `target`, continuing an unfinished one of the same provenance; the caller holds the lock.

    Leaving the block by an exception keeps acknowledged shards for a later run, unless the input cannot be read
    again. What killed writers left beside the target is removed. Raises UserError naming the first field in which an
    unfinished store differs; with `overwrite` it is discarded instead. `needed_bytes` is what the whole store takes,
    named when the disk runs full.
    """
    partial = partial_folder(target)
    remove_temporaries_of(target)
    with resumable_disk_full_named(target, needed_bytes):
        journal = begin_journal(partial, provenance, overwrite, limits or ShardLimits())
        remove_all_but(partial, {JOURNAL_NAME, *(shard.name for shard in journal.shards)})
        writer = StoreWriter(partial, journal)
        try:
            yield writer
            assert writer.is_finished, "finish() was not called"
            put_folder_in_place(partial, target)
        except BaseException:
            if not journal.shards or provenance.input_sha256 is None:
                shutil.rmtree(partial, ignore_errors=True)
            raise


def complete_store(folder: Path, provenance: Provenance, shards: Sequence[ShardEntry]) -> Manifest:
    """Make the folder of these shards, all durable, a store: write the index and the manifest, remove all else.

    Raises UserError when an entry does not fit its shard.
    """
    readers = (Shard(folder / entry.name, entry, provenance) for entry in shards)
    index = write_index(folder, index_of(chain.from_iterable(reader.id_bytes() for reader in readers)))
    manifest = Manifest(provenance, tuple(shards), index)
    write_manifest(folder, manifest)
    remove_all_but(folder, {MANIFEST_NAME, INDEX_NAME, *(shard.name for shard in shards)})
    fsync_folder(folder)
    return manifest


@contextmanager
def resumable_disk_full_named(target: Path, needed_bytes: int | None) -> Iterator[None]:
    """Turn a full disk met in the block into a UserError with the bytes still needed for a store, and those free."""
    try:
        yield
    except Exception as error:
        reason = full_disk_reason(error)
        if reason is None:
            raise
        there = num_bytes_there(target)
        needed = f"{max(needed_bytes - there, 0):,}" if needed_bytes else "more than 0"
        more = "more " if there and needed_bytes else ""
        again = "and run the same command again" + (", it goes on where it stopped" if there else "")
        line = f"cannot write {target}: {reason} ({needed} {more}bytes needed, {free_bytes(target):,} free)"
        raise FullDiskError(f"{line}; free some space {again}", reason) from error


def num_bytes_there(target: Path) -> int:
    """Bytes of what an unfinished run has left of a store, to be continued."""
    partial = partial_folder(target)
    return sum(entry.stat().st_size for entry in partial.iterdir()) if partial.is_dir() else 0


def partial_folder(target: Path) -> Path:
    """The folder in which a store is written until it is whole."""
    return target.with_name(f"{target.name}.partial")


def begin_journal(partial: Path, provenance: Provenance, overwrite: bool, limits: ShardLimits) -> Journal:
    """The journal of an unfinished store in `partial`, gone on with or begun; UserErrors as of `writing_store`."""
    _require_ours(partial)
    begun = None
    try:
        begun = _read_begun(partial)
        if begun is not None:
            _require_same(partial, begun[0], provenance)
    except UserError:
        if not overwrite:
            raise
        begun = None
    partial.mkdir(exist_ok=True)
    fsync_folder(partial.parent)
    kept = begun[2] if begun else ()
    return Journal(partial, provenance, begun[1] if begun else limits, kept)


def _read_begun(partial: Path) -> Begun | None:
    """What is there of an unfinished store: its journal, or its manifest when only the last renaming is missing."""
    if (partial / MANIFEST_NAME).is_file() and not (partial / JOURNAL_NAME).is_file():
        manifest = read_manifest(partial)
        return manifest.provenance, ShardLimits(), manifest.shards
    return read_journal(partial)


def _require_same(partial: Path, begun: Provenance, now: Provenance) -> None:
    for field, before, after in begun.differences(now):
        raise UserError(
            f"{partial} was begun with {field} {before}, this run has {after}: "
            "repeat the first run's command to continue it, or add --overwrite to begin again"
        )
    if now.input_sha256 is None:
        raise UserError(f"{partial}: a run from a stream cannot be continued; add --overwrite to begin again")


def _require_ours(partial: Path) -> None:
    """Refuse to empty a folder that we did not make."""
    if not partial.exists():
        return
    ours = (JOURNAL_NAME, MANIFEST_NAME)
    names = [entry.name for entry in partial.iterdir()] if partial.is_dir() else [""]
    if names and not any(name.startswith(ours) for name in names):
        raise UserError(f"{partial}: not an unfinished embedding store; move it away or choose another output name")


def remove_all_but(folder: Path, names: Collection[str]) -> None:
    """Remove all files of a folder but those of these names."""
    for entry in folder.iterdir():
        if entry.name not in names:
            entry.unlink()
