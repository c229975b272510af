"""Reading an embedding store: one protein at a time, at random, out of shards that are mapped when first touched."""

from bisect import bisect_right
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.files import sha256_of
from openankh.store.manifest import Manifest, read_manifest
from openankh.store.provenance import Provenance
from openankh.store.shard import Shard


class EmbeddingStore:
    """Embeddings of many proteins on disk, in the order of their FASTA file.

    `store[i]` is the array of protein i, (L, D) per residue or (D,) pooled, (K, L, D) or (K, D) of several layers:
    read-only memory of the file for fp32 and fp16, a float32 copy for bf16. `store["P69905"]` is that of the one
    protein of this id.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self._manifest = manifest
        self._firsts = [0, *accumulate(shard.num_records for shard in manifest.shards)]
        self._shards: list[Shard | None] = [None] * len(manifest.shards)

    @classmethod
    def open(cls, folder: Path | str) -> "EmbeddingStore":
        """Open a finished store; UserError for a folder that is none, or whose shards have not the size written.

        Hashes are checked by `verify`, since that reads everything.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for entry in manifest.shards:
            path = folder / entry.name
            size = path.stat().st_size if path.is_file() else None
            if size != entry.size:
                found = "missing" if size is None else f"{size:,} bytes where {entry.size:,} were written"
                raise UserError(f"{path}: {found}; copy the store again, or embed again")
        return cls(folder, manifest)

    @property
    def provenance(self) -> Provenance:
        """The input, model and options that made the numbers."""
        return self._manifest.provenance

    @property
    def width(self) -> int:
        """Columns of every array."""
        return self.provenance.width

    @property
    def num_residues(self) -> int:
        """Residues of all proteins."""
        return self._manifest.num_residues

    def __len__(self) -> int:
        return self._firsts[-1]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of all proteins, in order, duplicates included."""
        return tuple(name for number in range(len(self._shards)) for name in self._shard(number).ids)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Residues of each protein, in order."""
        parts = [self._shard(number).lengths for number in range(len(self._shards))]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def find(self, protein_id: str) -> tuple[int, ...]:
        """The places of the proteins of this id: none, one, or several where the input had duplicates."""
        return self._places.get(protein_id, ())

    def __getitem__(self, key: int | str) -> NDArray[np.floating]:
        if isinstance(key, str):
            return self[self._only_place(key)]
        index = int(key) + len(self) if key < 0 else int(key)
        if not 0 <= index < len(self):
            raise IndexError(f"protein {key} of a store of {len(self)}")
        number = bisect_right(self._firsts, index) - 1
        return self._shard(number)[index - self._firsts[number]]

    def __iter__(self) -> Iterator[NDArray[np.floating]]:
        return (array for _, array in self.items())

    def items(self) -> Iterator[tuple[str, NDArray[np.floating]]]:
        """(id, array) of every protein, in order."""
        for number in range(len(self._shards)):
            shard = self._shard(number)
            for index, protein_id in enumerate(shard.ids):
                yield protein_id, shard[index]

    def matrices(self, *, keep: bool = False) -> Iterator[NDArray]:
        """The rows (N, D) of each shard in turn, as stored: read-only memory of the file, bf16 as its bits.

        A shard is mapped for as long as its rows are in use; with `keep` as long as the store is open, which spares
        the mapping when all is read again.
        """
        for number, entry in enumerate(self._manifest.shards):
            shard = self._shard(number) if keep else Shard(self.folder / entry.name, entry, self.provenance)
            yield shard.rows

    def verify(self) -> None:
        """Read every byte; UserError naming the first shard whose SHA-256 is not the one that was written."""
        for number, entry in enumerate(self._manifest.shards):
            path = self.folder / entry.name
            if sha256_of(path) != entry.sha256:
                raise UserError(
                    f"{path}: damaged (its SHA-256 differs from the manifest's); copy the store again, or embed again"
                )
            self._shard(number)

    def _shard(self, number: int) -> Shard:
        shard = self._shards[number]
        if shard is None:
            entry = self._manifest.shards[number]
            shard = self._shards[number] = Shard(self.folder / entry.name, entry, self.provenance)
        return shard

    @cached_property
    def _places(self) -> dict[str, tuple[int, ...]]:
        places: dict[str, list[int]] = {}
        for index, protein_id in enumerate(self.ids):
            places.setdefault(protein_id, []).append(index)
        return {protein_id: tuple(indices) for protein_id, indices in places.items()}

    def _only_place(self, protein_id: str) -> int:
        places = self.find(protein_id)
        if len(places) == 1:
            return places[0]
        if places:
            shown = ", ".join(str(place) for place in places[:3]) + (", …" if len(places) > 3 else "")
            raise UserError(
                f"{self.folder}: {len(places)} proteins have the id {protein_id!r} (places {shown}); use one"
            )
        near = get_close_matches(protein_id, self.ids[:10_000], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{self.folder}: no protein has the id {protein_id!r}{hint}")
