"""The manifest of a corpus folder: what its files are, their hashes, and where the proteins came from.

Layout of a corpus, one folder a split:

    manifest.json               written last: a folder without it is not a corpus
    train/tokens-00000.u8       residue ids, one byte each, proteins end to end; a protein lies whole in one shard
    train/tokens-00001.u8
    train/offsets.i64           where each protein begins in the tokens of all shards, and the end (little-endian)
    train/lengths.i32           residues of each protein (little-endian)
    valid/...
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.files import sha256_of, write_file_atomically
from openankh.json_file import read_json_object
from openankh.vocab import Vocab

MANIFEST_NAME = "manifest.json"
FORMAT = "openankh-corpus"
VERSION = 1
SPLITS = ("train", "valid")
_AGAIN = "run openankh prepare again"


@dataclass(frozen=True)
class FileEntry:
    """One file of a corpus: its name relative to the corpus folder, its bytes, their SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A file of residue ids and how many proteins it holds; its size in bytes is its residues."""

    file: FileEntry
    num_proteins: int


@dataclass(frozen=True)
class Split:
    """One split: counts, token shards in order, and the two index files."""

    num_proteins: int
    num_residues: int
    longest: int
    shards: tuple[Shard, ...]
    offsets: FileEntry
    lengths: FileEntry

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the split."""
        return (*(shard.file for shard in self.shards), self.offsets, self.lengths)


@dataclass(frozen=True)
class Source:
    """A FASTA file that was read: its name, bytes as stored (compressed or not), and what became of its records."""

    name: str
    split: str
    size: int
    sha256: str
    num_records: int
    num_residues: int
    num_without_word: int
    num_too_short: int
    num_held_out: int
    num_upper_cased: int
    num_stops_dropped: int
    num_unknown_replaced: int


@dataclass(frozen=True)
class Manifest:
    """All that is known of a corpus."""

    pieces: tuple[str, ...]
    splits: Mapping[str, Split]
    sources: tuple[Source, ...]
    options: Mapping[str, Any]
    provenance: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over vocabulary and contents: equal when two corpora hold the same tokens in the same shards."""
        splits = {name: asdict(split) for name, split in self.splits.items()}
        return _hash({"format": FORMAT, "version": VERSION, "pieces": self.pieces, "splits": splits})


def split_file_names(split: str, num_shards: int) -> tuple[str, ...]:
    """The names a split's files have: the shards in order, then offsets and lengths."""
    shards = (shard_name(split, number) for number in range(num_shards))
    return (*shards, f"{split}/offsets.i64", f"{split}/lengths.i32")


def shard_name(split: str, number: int) -> str:
    """The name of a split's token shard."""
    return f"{split}/tokens-{number:05d}.u8"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, the mark of a complete corpus: call it when every other file is on disk."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": manifest.fingerprint,
        "vocabulary": {"fingerprint": Vocab(manifest.pieces).fingerprint, "pieces": manifest.pieces},
        "splits": {name: asdict(split) for name, split in manifest.splits.items()},
        "sources": [asdict(source) for source in manifest.sources],
        "options": dict(manifest.options),
        "provenance": dict(manifest.provenance),
    }
    text = json.dumps({**content, "checksum": _hash(content)}, indent=1) + "\n"
    write_file_atomically(folder / MANIFEST_NAME, text)


def read_manifest(folder: Path | str) -> Manifest:
    """Read and check a corpus folder's manifest; UserError for anything that is not one, whole and unchanged."""
    path = _manifest_path(Path(folder))
    content = read_json_object(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: not the manifest of a corpus; {_AGAIN}")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path}: corpus format {content.get('version')!r}, this openankh reads format {VERSION}; "
            f"{_AGAIN} with this version"
        )
    if content.pop("checksum", None) != _hash(content):
        raise UserError(f"{path}: changed since it was written (its checksum differs); {_AGAIN}")
    try:
        return _parse(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: malformed ({error}); {_AGAIN}") from error


def check_sizes(folder: Path, split: Split) -> None:
    """Raise UserError for the first file of a split that is missing or has not the size the manifest says."""
    for entry in split.files:
        path = folder / entry.name
        if not path.is_file():
            raise UserError(f"{path}: missing from the corpus; copy the folder again, or {_AGAIN}")
        if (size := path.stat().st_size) != entry.size:
            raise UserError(f"{path}: {size:,} bytes, {entry.size:,} were written; copy the folder again, or {_AGAIN}")


def check_hashes(folder: Path, split: Split) -> None:
    """Raise UserError for the first file of a split whose bytes are not those that were written."""
    for entry in split.files:
        if sha256_of(folder / entry.name) != entry.sha256:
            raise UserError(
                f"{folder / entry.name}: damaged (its SHA-256 differs from the manifest's); "
                f"copy the folder again, or {_AGAIN}"
            )


def _manifest_path(folder: Path) -> Path:
    if folder.is_file():
        raise UserError(f"{folder}: a file, not a corpus folder; make one with openankh prepare {folder} -o CORPUS")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make a corpus with openankh prepare IN.fasta -o {folder}")
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST_NAME}, so not a corpus, or one not finished; {_AGAIN}")
    return path


def _parse(content: dict[str, Any]) -> Manifest:
    manifest = Manifest(
        pieces=tuple(content["vocabulary"]["pieces"]),
        splits={name: _parse_split(name, split) for name, split in content["splits"].items()},
        sources=tuple(Source(**source) for source in content["sources"]),
        options=content["options"],
        provenance=content["provenance"],
    )
    _require(content["vocabulary"]["fingerprint"] == Vocab(manifest.pieces).fingerprint, "vocabulary")
    _require(content["fingerprint"] == manifest.fingerprint, "fingerprint")
    return manifest


def _parse_split(name: str, content: dict[str, Any]) -> Split:
    _require(name in SPLITS, f"split {name!r}")
    split = Split(
        num_proteins=content["num_proteins"],
        num_residues=content["num_residues"],
        longest=content["longest"],
        shards=tuple(Shard(FileEntry(**shard["file"]), shard["num_proteins"]) for shard in content["shards"]),
        offsets=FileEntry(**content["offsets"]),
        lengths=FileEntry(**content["lengths"]),
    )
    # Names are fixed by the layout, so a manifest can never point outside its folder.
    names = tuple(entry.name for entry in split.files)
    _require(names == split_file_names(name, len(split.shards)), f"file names of {name}")
    _require(split.num_proteins > 0, f"number of proteins of {name}")
    _require(sum(shard.num_proteins for shard in split.shards) == split.num_proteins, f"proteins of {name}")
    _require(sum(shard.file.size for shard in split.shards) == split.num_residues, f"residues of {name}")
    _require(split.offsets.size == 8 * (split.num_proteins + 1), f"offsets of {name}")
    _require(split.lengths.size == 4 * split.num_proteins, f"lengths of {name}")
    return split


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"the {what} cannot be right")


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
