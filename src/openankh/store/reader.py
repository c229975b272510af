"""Reading an embedding store: one protein at a time, at random, or all in order, in bounded memory."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property, lru_cache, partial
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.store.id_index import IdIndex, index_of, read_index
from openankh.store.manifest import Manifest, read_manifest
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance
from openankh.store.shard import id_to_bytes
from openankh.store.shard_reader import REMEDY, Shard, damaged
from openankh.store.verification import verify_store

MAX_OPEN_SHARDS = 128
"""Each takes a file descriptor, of which many systems allow a process 1,024."""


class EmbeddingStore:
    """Embeddings of many proteins on disk, in the order of their FASTA file.

    `store[i]` is the array of protein i, (L, D) per residue or (D,) pooled, (K, L, D) or (K, D) of several layers:
    float16, or float32 for fp32 and bf16, in memory of its own. `store["P69905"]` is that of the one protein of this
    id. Reading is safe from several threads and processes.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._firsts = [0, *accumulate(shard.num_records for shard in manifest.shards)]
        self._shard = lru_cache(MAX_OPEN_SHARDS)(partial(_open_shard, folder, manifest))
        self._kept: dict[int, NDArray] = {}

    @classmethod
    def open(cls, folder: Path | str) -> "EmbeddingStore":
        """Open a finished store; UserError for a folder that is none, or whose files have not the size written.

        Hashes are checked by `openankh.store.verification`, since that reads everything.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for entry in (*manifest.shards, *([manifest.index] if manifest.index else [])):
            path = folder / entry.name
            size = path.stat().st_size if path.is_file() else None
            if size != entry.size:
                found = "missing" if size is None else f"{size:,} bytes where {entry.size:,} were written"
                raise UserError(f"{path}: {found}; {REMEDY}")
        return cls(folder, manifest)

    def close(self) -> None:
        """Let go of all files; what is read later opens them again."""
        self._shard.cache_clear()
        self._kept.clear()

    def __enter__(self) -> "EmbeddingStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path], "EmbeddingStore"], tuple[Path]]:
        return EmbeddingStore.open, (self.folder,)

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.folder)!r}: {len(self):,} proteins)"

    @property
    def provenance(self) -> Provenance:
        """The input, model and options that made the numbers."""
        return self.manifest.provenance

    @property
    def width(self) -> int:
        """Columns of every array."""
        return self.provenance.width

    @property
    def num_residues(self) -> int:
        """Residues of all proteins."""
        return self.manifest.num_residues

    def __len__(self) -> int:
        return self._firsts[-1]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of all proteins, in order, duplicates included."""
        return tuple(self._iterate_ids())

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Residues of each protein, in order."""
        parts = [self._shard(number).lengths for number in range(len(self.manifest.shards))]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def id(self, index: int) -> str:
        """The id of protein `index`."""
        number, place = self._place(index)
        return self._shard(number).id(place)

    def length(self, index: int) -> int:
        """The residues of protein `index`."""
        number, place = self._place(index)
        return int(self._shard(number).lengths[place])

    def find(self, protein_id: str) -> tuple[int, ...]:
        """The places of the proteins of this id: none, one, or several where the input had duplicates."""
        candidates = self._index.candidates(id_to_bytes(protein_id))
        return tuple(place for place in candidates if 0 <= place < len(self) and self.id(place) == protein_id)

    def repeats(self) -> list[int]:
        """The places of proteins whose id another before them has, in order."""
        hashes, places = self._index.hashes, self._index.places
        later = places[1:][hashes[1:] == hashes[:-1]].tolist()
        return sorted(place for place in later if self.find(self.id(place))[0] != place)

    def __contains__(self, protein_id: object) -> bool:
        return isinstance(protein_id, str) and bool(self.find(protein_id))

    def __getitem__(self, key: int | str) -> NDArray[np.floating]:
        number, place = self._place(self._only_place(key) if isinstance(key, str) else int(key))
        return self._shard(number)[place]

    def __iter__(self) -> Iterator[NDArray[np.floating]]:
        return (array for _, array in self.items())

    def items(self) -> Iterator[tuple[str, NDArray[np.floating]]]:
        """(id, array) of every protein, in order, in bounded memory."""
        return ((embedding.id, embedding.values) for embedding in self.embeddings())

    def embeddings(self, places: Iterable[int] | None = None) -> Iterator[Embedding]:
        """The proteins at these places, in that order, or all of them, each with its id and length."""
        if places is None:
            for number in range(len(self.manifest.shards)):
                shard = self._shard(number)
                lengths = shard.lengths.tolist()
                yield from map(Embedding, shard.ids, lengths, shard.arrays())
            return
        for index in places:
            number, place = self._place(index)
            shard = self._shard(number)
            yield Embedding(shard.id(place), int(shard.lengths[place]), shard[place])

    def matrices(self, *, keep: bool = False) -> Iterator[NDArray]:
        """The rows (N, D) of each shard in turn, as stored: read-only memory of the file, bf16 as its bits.

        A shard is mapped for as long as its rows are in use; with `keep` as long as the store is open, which spares
        the mapping when all is read again.
        """
        for number in range(len(self.manifest.shards)):
            rows = self._kept.get(number)
            if rows is None:
                rows = _open_shard(self.folder, self.manifest, number).rows
            if keep:
                self._kept[number] = rows
            yield rows

    def verify(self) -> None:
        """Read every byte; UserError naming the first file that is not as it was written."""
        for damage in verify_store(self.folder).damages:
            raise damaged(self.folder / damage.file, damage.reason)

    def _place(self, index: int) -> tuple[int, int]:
        """(shard, place in it) of a protein, counted from the end where negative."""
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"protein {index} of a store of {len(self)}")
        number = bisect_right(self._firsts, place) - 1
        return number, place - self._firsts[number]

    def _iterate_ids(self) -> Iterator[str]:
        for number in range(len(self.manifest.shards)):
            yield from self._shard(number).ids

    @cached_property
    def _index(self) -> IdIndex:
        if self.manifest.index is None:
            return index_of(map(id_to_bytes, self._iterate_ids()))
        path = self.folder / self.manifest.index.name
        index = read_index(path, len(self))
        if index is None:
            raise damaged(path, "it is not the index of this store")
        return index

    def hint(self, protein_id: str) -> str:
        """Words that name an id like one that is not there, where there is one among the first thousands."""
        near = get_close_matches(protein_id, list(islice(self._iterate_ids(), 10_000)), n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def _only_place(self, protein_id: str) -> int:
        places = self.find(protein_id)
        if len(places) == 1:
            return places[0]
        if places:
            shown = ", ".join(str(place) for place in places[:3]) + (", …" if len(places) > 3 else "")
            raise UserError(
                f"{self.folder}: {len(places)} proteins have the id {protein_id!r} (places {shown}); use one"
            )
        raise UserError(f"{self.folder}: no protein has the id {protein_id!r}{self.hint(protein_id)}")


def open_store(path: Path | str) -> EmbeddingStore:
    """Open the embedding store that `openankh embed` wrote into a folder; reads no embedding yet.

    Raises UserError for what is no store, is not finished, or lacks a file.
    """
    return EmbeddingStore.open(path)


def _open_shard(folder: Path, manifest: Manifest, number: int) -> Shard:
    entry = manifest.shards[number]
    return Shard(folder / entry.name, entry, manifest.provenance)
