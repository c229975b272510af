"""Several embedding stores into one, whose shards are theirs, linked where the disk can and else copied."""

import hashlib
import os
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal

from openankh.errors import UserError
from openankh.files import atomic_folder, remove_temporaries_of, require_free_space
from openankh.store.provenance import Provenance
from openankh.store.reader import EmbeddingStore
from openankh.store.shard import ShardEntry, shard_name
from openankh.store.shard_reader import damaged
from openankh.store.target import require_replaceable
from openankh.store.verification import OnBytes, Reading, damages_of
from openankh.store.writer import complete_store

Duplicates = Literal["keep", "refuse"]


@dataclass(frozen=True)
class MergeSummary:
    """What a merged store holds; `num_duplicates` proteins have an id that another before them has."""

    num_proteins: int
    num_residues: int
    num_shards: int
    num_duplicates: int
    provenance: Provenance


def merge_stores(
    parts: Sequence[Path],
    target: Path,
    *,
    input_sha256: str | None = None,
    duplicates: Duplicates = "keep",
    overwrite: bool = False,
    on_bytes: OnBytes = lambda num_bytes: None,
) -> MergeSummary:
    """Make the store `target`, whose lock the caller holds, of the proteins of all parts in the order given.

    As if the inputs of the parts had been one file, end to end: proteins of an id that occurs more than once all stay,
    in order, or with `duplicates="refuse"` are an error. The parts may differ in their input alone. `input_sha256` is
    that of the whole where the caller knows it; else it is derived from those of the parts. Every byte is verified
    before `target` appears, at once. Raises UserError for parts that differ, are damaged or given twice, and for a full
    disk; then nothing is left.
    """
    stores = _opened(parts)
    require_replaceable(target, overwrite)
    remove_temporaries_of(target)
    reading = Reading(on_bytes)
    for store in stores:
        for damage in damages_of(store.folder, store.manifest, reading):
            raise damaged(store.folder / damage.file, damage.reason)
    # A store that is replaced may be one of the parts: its shards live on under the names they are given here.
    with atomic_folder(target) as folder:
        entries = tuple(_gather(stores, folder, reading))
        provenance = stores[0].provenance.of_input(input_sha256 or _joined_input(stores))
        merged = EmbeddingStore(folder, complete_store(folder, provenance, entries))
        repeats = merged.repeats()
        if repeats and duplicates == "refuse":
            raise _repeated(merged, repeats[0], stores)
    return MergeSummary(len(merged), merged.num_residues, len(entries), len(repeats), provenance)


def _opened(parts: Sequence[Path]) -> list[EmbeddingStore]:
    if not parts:
        raise UserError("no store to merge; name at least one")
    seen: set[str] = set()
    for part in parts:
        true_path = os.path.realpath(part)
        if true_path in seen:
            raise UserError(f"{part}: given twice; name each store once")
        seen.add(true_path)
    stores = [EmbeddingStore.open(part) for part in parts]
    first = stores[0]
    for store in stores[1:]:
        there = replace(store.provenance, input_sha256=first.provenance.input_sha256)
        for field, here, other in first.provenance.differences(there):
            raise UserError(
                f"{store.folder}: its {field} is {other!r} where {first.folder} has {here!r}; "
                "stores can be merged when only their inputs differ"
            )
    return stores


def _joined_input(stores: Sequence[EmbeddingStore]) -> str:
    hashes = [store.provenance.input_sha256 or "" for store in stores]
    return hashlib.sha256("\n".join(["inputs end to end", *hashes]).encode()).hexdigest()


def _gather(stores: Sequence[EmbeddingStore], folder: Path, reading: Reading) -> Iterator[ShardEntry]:
    """The shards of all stores, in order, under their new names in `folder`."""
    shards = [(store.folder / entry.name, entry) for store in stores for entry in store.manifest.shards]
    can_link = True
    for number, (path, entry) in enumerate(shards):
        new = folder / shard_name(number)
        if can_link and not (can_link := _is_linked(path, new)):
            require_free_space(folder, sum(later.size for _, later in shards[number:]))
        if not can_link:
            shutil.copyfile(path, new)
            if reason := reading.difference(new, entry.size, entry.sha256):
                raise UserError(f"{path}: its copy is not as it was read ({reason}); check the disk")
        yield replace(entry, name=new.name)


def _is_linked(path: Path, new: Path) -> bool:
    """Link a file; False where the disk cannot."""
    try:
        os.link(path, new)
    except OSError:
        return False
    return True


def _repeated(merged: EmbeddingStore, place: int, stores: Sequence[EmbeddingStore]) -> UserError:
    """The error for an id that occurs more than once, `place` being one of its later proteins."""
    ends = list(accumulate(map(len, stores)))
    protein_id = merged.id(place)
    first, other = (stores[bisect_right(ends, index)].folder for index in (merged.find(protein_id)[0], place))
    return UserError(
        f"{other}: protein {protein_id!r} is in {first} too; leave one out, or keep both with --duplicates keep"
    )
