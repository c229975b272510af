"""Writing an embedding store so that a killed run loses at most one shard and what looks complete is complete.

Everything happens in `OUT.partial`, beside the target. A shard is written to a temporary name, made durable, renamed,
then acknowledged in the journal; the manifest is written last; then the folder takes the target's name. Running the
same command again continues after the last acknowledged shard.
"""

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openankh.errors import UserError
from openankh.files import fsync_folder, full_disk_named, put_folder_in_place
from openankh.store.journal import JOURNAL_NAME, Begun, Journal, ShardLimits, read_journal
from openankh.store.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance
from openankh.store.shard import ShardContent, shard_name, write_shard


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
        provenance = self._journal.provenance.of_input(input_sha256)
        write_manifest(self._folder, Manifest(provenance, tuple(self._journal.shards)))
        self._journal.remove()
        fsync_folder(self._folder)
        self.is_finished = True

    def _write_shard(self) -> None:
        ids, lengths, arrays = zip(*((e.id, e.length, e.values) for e in self._pending), strict=True)
        path = self._folder / shard_name(len(self._journal.shards))
        self._journal.acknowledge(write_shard(path, ShardContent(ids, lengths, arrays), self._journal.provenance))
        self._pending.clear()
        self._pending_bytes = self._pending_residues = 0


@contextmanager
def writing_store(
    target: Path, provenance: Provenance, *, overwrite: bool = False, limits: ShardLimits | None = None
) -> Iterator[StoreWriter]:
    """Write the store `target`, continuing an unfinished one of the same provenance; the caller holds the lock.

    Leaving the block by an exception keeps acknowledged shards for a later run, unless the input cannot be read
    again. Raises UserError naming the first field in which an unfinished store differs; with `overwrite` it is
    discarded instead.
    """
    partial = partial_folder(target)
    journal = begin_journal(partial, provenance, overwrite, limits or ShardLimits())
    remove_all_but(partial, {JOURNAL_NAME, *(shard.name for shard in journal.shards)})
    writer = StoreWriter(partial, journal)
    try:
        with full_disk_named(target, partial, None):
            yield writer
    except BaseException:
        if not journal.shards or provenance.input_sha256 is None:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    assert writer.is_finished, "finish() was not called"
    put_folder_in_place(partial, target)


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
