"""A corpus on disk: the residue ids of many proteins, memory-mapped and read in any order.

Legend: `B` proteins asked for, `N` their residues end to end, `L` residues of one protein.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.corpus_manifest import Manifest, Split, check_hashes, check_sizes, read_manifest
from openankh.errors import UserError
from openankh.vocab import Vocab


class Corpus:
    """One split of a corpus folder.

    Tokens are residue ids of `vocab`, without prefix and without `</s>`. Nothing but the index of shards is held in
    memory: tokens, offsets and lengths are pages of files that the system reads and drops as it likes, so a corpus
    may be larger than the memory. Pickling one passes its folder on, not its contents.
    """

    def __init__(self, folder: Path, manifest: Manifest, name: str):
        split = manifest.splits[name]
        self.folder = folder
        self.split = name
        self.manifest = manifest
        self._vocab = Vocab(manifest.pieces)
        self.lengths: NDArray[np.int32] = np.memmap(folder / split.lengths.name, dtype="<i4", mode="r")
        self._offsets: NDArray[np.int64] = np.asarray(np.memmap(folder / split.offsets.name, dtype="<i8", mode="r"))
        # A view without the memmap class: slicing one of those costs a microsecond.
        shards = [np.asarray(np.memmap(folder / shard.file.name, dtype=np.uint8, mode="r")) for shard in split.shards]
        self._shards = [shard.data for shard in shards]
        self._shard_starts = np.cumsum([0] + [shard.size for shard in shards[:-1]], dtype=np.int64)
        self._check_index(split)

    @classmethod
    def open(cls, folder: Path | str, split: str = "train", verify: bool = False) -> "Corpus":
        """Open a split; the sizes of its files are always checked, with `verify` their SHA-256 too.

        Raises UserError when the folder is no complete corpus, has no such split, or a file is missing or changed.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if split not in manifest.splits:
            known = ", ".join(manifest.splits)
            raise UserError(
                f"{folder}: no split {split!r}, only {known}; "
                "prepare it again with --valid FASTA or --holdout FRACTION to have a validation split"
            )
        check_sizes(folder, manifest.splits[split])
        if verify:
            check_hashes(folder, manifest.splits[split])
        return cls(folder, manifest, split)

    @property
    def vocab(self) -> Vocab:
        """The vocabulary whose ids the tokens are."""
        return self._vocab

    @property
    def num_proteins(self) -> int:
        """Proteins in this split."""
        return self._manifest_split.num_proteins

    @property
    def num_residues(self) -> int:
        """Residues in this split."""
        return self._manifest_split.num_residues

    @property
    def longest(self) -> int:
        """Residues of the longest protein."""
        return self._manifest_split.longest

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 that names the whole corpus: its vocabulary and the tokens of all splits."""
        return self.manifest.fingerprint

    def require_vocab(self, vocab: Vocab) -> None:
        """Raise UserError unless the tokens are ids of this vocabulary."""
        if vocab.fingerprint != self.vocab.fingerprint:
            raise UserError(
                f"{self.folder}: its tokens are of another vocabulary ({self.vocab.size} pieces, residues "
                f"{self.vocab.letters}) than the model's ({vocab.size} pieces, residues {vocab.letters}); "
                "prepare a corpus with the model's vocabulary: --vocab openankh, ankh or the model's folder"
            )

    def __len__(self) -> int:
        return self.num_proteins

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Residue ids (L,) of one protein: a read-only view of the file."""
        if not 0 <= index < self.num_proteins:
            raise IndexError(f"protein {index} of {self.num_proteins}")
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        shard = int(np.searchsorted(self._shard_starts, start, side="right")) - 1
        shift = int(self._shard_starts[shard])
        return np.frombuffer(self._shards[shard][start - shift : stop - shift], dtype=np.uint8)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Copy proteins: residue ids (N,) end to end in the order asked for, and their offsets int64 (B + 1,)."""
        index_B = np.asarray(indices, dtype=np.int64)
        assert index_B.size == 0 or 0 <= index_B.min() <= index_B.max() < self.num_proteins, "protein out of range"
        start_B = self._offsets[index_B]
        length_B = self._offsets[index_B + 1] - start_B
        shard_B = np.searchsorted(self._shard_starts, start_B, side="right") - 1
        start_B = start_B - self._shard_starts[shard_B]
        places = zip(shard_B.tolist(), start_B.tolist(), (start_B + length_B).tolist(), strict=True)
        shards = self._shards
        # Joining views costs one memcpy a protein; an index array would cost eight bytes a residue.
        ids_N = np.frombuffer(bytearray().join([shards[shard][start:stop] for shard, start, stop in places]), np.uint8)
        offsets = np.zeros(index_B.size + 1, dtype=np.int64)
        np.cumsum(length_B, out=offsets[1:])
        return ids_N, offsets

    def __reduce__(self) -> tuple[object, ...]:
        return Corpus.open, (self.folder, self.split)

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}, {self.split!r}: {self.num_proteins:,} proteins)"

    @property
    def _manifest_split(self) -> Split:
        return self.manifest.splits[self.split]

    def _check_index(self, split: Split) -> None:
        if self._offsets[0] != 0 or self._offsets[-1] != split.num_residues:
            raise UserError(f"{self.folder / split.offsets.name}: damaged; copy the folder again, or prepare it again")
