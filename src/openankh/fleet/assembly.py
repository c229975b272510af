"""A store put together from shards that workers have written, each taken up once, in whatever order they come.

Everything happens in `OUT.partial`, as when one process writes the store: the journal acknowledges shards in order, so
that either way of running goes on after the other. A shard that comes before its turn gets a receipt beside it.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from openankh.errors import UserError
from openankh.files import fsync_folder, write_file_atomically
from openankh.fleet.landing import FolderLanding, Landed, Landing
from openankh.fleet.receipts import Receipt, number_of, parse_receipt, receipt_name
from openankh.store import Provenance, ShardLimits
from openankh.store.journal import JOURNAL_NAME, Journal
from openankh.store.shard import shard_name
from openankh.store.writer import begin_journal, complete_store, remove_all_but


class Assembly(Protocol):
    """A store that is being put together: parts are still missing from `number` on, whose first record stands at place
    `first` of the input, save those of `kept`.
    """

    limits: ShardLimits
    number: int
    first: int

    @property
    def landing(self) -> Landing:
        """Where workers write."""
        ...

    @property
    def kept(self) -> Mapping[int, Receipt]:
        """Shards that an earlier run has left beyond `number`."""
        ...

    @property
    def num_records(self) -> int:
        """Proteins of the shards taken up so far, those of earlier runs included."""
        ...

    @property
    def num_residues(self) -> int:
        """Residues of those proteins."""
        ...

    def take(self, landed: Landed) -> None:
        """Take up a shard; when this returns it is the store's, whatever happens."""
        ...

    def finish(self, provenance: Provenance) -> None:
        """Write the manifest, once every part was taken up."""
        ...


class FolderAssembly:
    """A store in a folder of this machine, or of all machines; see `Assembly`."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.limits = journal.limits
        self.number, self.first = len(journal.shards), journal.num_records
        self.landing = FolderLanding(str(folder))
        self._folder, self._journal = folder, journal
        self.kept: Mapping[int, Receipt] = dict(_read_receipts(folder, self.number))
        self._early = dict(self.kept)
        self._taken: set[int] = set()
        names = [name for number in self.kept for name in (shard_name(number), receipt_name(number))]
        remove_all_but(folder, {JOURNAL_NAME, *(shard.name for shard in journal.shards), *names})

    @property
    def num_records(self) -> int:
        """Proteins of the shards taken up so far, those of earlier runs included."""
        return self._journal.num_records + sum(receipt.entry.num_records for receipt in self._early.values())

    @property
    def num_residues(self) -> int:
        """Residues of those proteins."""
        return self._journal.num_residues + sum(receipt.entry.num_residues for receipt in self._early.values())

    def take(self, landed: Landed) -> None:
        """Take up a shard; when this returns it is the store's, whatever happens."""
        number, receipt = landed.number, Receipt(landed.first, landed.entry)
        if number in self._taken:  # another worker was given it, and the first one lived after all
            (self._folder / landed.name).unlink()
            return
        if number < len(self._journal.shards):
            raise UserError(f"{self._folder}: was begun by another version of openankh; add --overwrite to begin again")
        os.replace(self._folder / landed.name, self._folder / landed.entry.name)
        fsync_folder(self._folder)
        if number > len(self._journal.shards):
            write_file_atomically(self._folder / receipt_name(number), receipt.to_json())
        self._early[number] = receipt
        self._taken.add(number)
        self._acknowledge()

    def finish(self, provenance: Provenance) -> None:
        """Write the manifest, once every part was taken up."""
        self._acknowledge()
        assert not self._early, f"{len(self._journal.shards)} parts are here, the next is missing"
        complete_store(self._folder, provenance, self._journal.shards)

    def _acknowledge(self) -> None:
        """Let the journal acknowledge what now follows it without a gap."""
        while (receipt := self._early.pop(len(self._journal.shards), None)) is not None:
            if receipt.first != self._journal.num_records:
                raise UserError(f"{self._folder}: was begun by another version of openankh; add --overwrite")
            self._journal.acknowledge(receipt.entry)
            (self._folder / receipt_name(len(self._journal.shards) - 1)).unlink(missing_ok=True)


@contextmanager
def assembling(
    folder: Path, provenance: Provenance, limits: ShardLimits, *, overwrite: bool = False
) -> Iterator[FolderAssembly]:
    """Put a store together in `folder`, going on with an unfinished one of the same provenance.

    Leaving the block by an exception keeps what was taken up for a later run, unless the input cannot be read again.
    Raises UserError as `openankh.store.writer.begin_journal` does; the caller holds the output's lock.
    """
    assembly = FolderAssembly(folder, begin_journal(folder, provenance, overwrite, limits))
    try:
        yield assembly
    except BaseException:
        if not assembly.num_records or provenance.input_sha256 is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _read_receipts(folder: Path, start: int) -> Iterator[tuple[int, Receipt]]:
    """The receipts of shards from number `start` on that are there with the size written."""
    for path in folder.iterdir():
        number = number_of(path.name)
        if number is None or number < start:
            continue
        receipt, shard = parse_receipt(path.read_bytes(), number), folder / shard_name(number)
        if receipt and shard.is_file() and shard.stat().st_size == receipt.entry.size:
            yield number, receipt
