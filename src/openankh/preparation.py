"""From FASTA files to a corpus folder: streaming, in constant memory, whole or not at all."""

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

import openankh
from openankh.corpus_manifest import Manifest, Source, Split, read_manifest, write_manifest
from openankh.corpus_writer import SHARD_RESIDUES, SplitWriter
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.files import atomic_folder, remove_temporaries_of
from openankh.lock import sole_writer
from openankh.selection import Selection
from openankh.vocab import Vocab, openankh_vocab

_BATCH_RESIDUES = 1 << 20
"""Residues encoded and written at once: bounds the memory, makes the cost of a call small."""
_RECORDS_PER_REPORT = 256
_STDIN = "-"

Progress = Callable[[int, int], None]
"""Hears how far a preparation is: bytes as stored, residues."""


@dataclass(frozen=True)
class PrepareOptions:
    """How FASTA files become a corpus: the vocabulary, how letters are read, which records, how large a shard.

    `reading` applies but for its letters: those are the vocabulary's.
    """

    vocab: Vocab = field(default_factory=openankh_vocab)
    reading: ReadOptions = field(default_factory=ReadOptions)
    selection: Selection = field(default_factory=Selection)
    shard_residues: int = SHARD_RESIDUES

    def __post_init__(self) -> None:
        if self.shard_residues < 1:
            raise UserError(f"--shard-residues {self.shard_residues}: give a number from 1 on")
        if self.reading.unknown == "x" and "X" not in self.vocab.letters:
            raise UserError("--unknown x: this vocabulary has no X; correct the letters instead")
        object.__setattr__(self, "reading", replace(self.reading, letters=self.vocab.letters))

    def as_json(self) -> dict[str, Any]:
        """What the manifest records of them; the vocabulary's pieces have their own place there."""
        return {**asdict(self.reading), **asdict(self.selection), "shard_residues": self.shard_residues}


def prepare(
    sources: Sequence[Path | str],
    folder: Path | str,
    options: PrepareOptions,
    *,
    valid: Path | str | None = None,
    overwrite: bool = False,
    on_progress: Progress = lambda num_bytes, num_residues: None,
) -> Manifest:
    """Turn FASTA files (`-` is stdin) into a corpus at `folder`; returns its manifest.

    `valid` names a ready validation file. `on_progress` hears the bytes (as stored) and residues read so far. The
    folder appears, or with `overwrite` replaces another corpus, when everything is written; a process that is killed
    leaves no folder that looks complete, and what it leaves the next preparation of `folder` removes. Raises UserError
    for whatever the user can mend, another process that is preparing `folder` included.
    """
    _check_sources(sources, valid, options.selection)
    _check_target(Path(folder), overwrite)
    with sole_writer(folder):
        remove_temporaries_of(folder)
        with atomic_folder(folder) as temporary, _Builder(temporary, options, on_progress) as builder:
            for source in sources:
                builder.add(source, "train", options.selection)
            if valid is not None:
                builder.add(valid, "valid", options.selection.of_ready_split)
            manifest = builder.finish()
            write_manifest(temporary, manifest)
            _check_target(Path(folder), overwrite)  # somebody may have made one meanwhile
    return manifest


def _check_sources(sources: Sequence[Path | str], valid: Path | str | None, selection: Selection) -> None:
    if not sources:
        raise UserError("no FASTA file given; name at least one, or - for standard input")
    if valid is not None and selection.holdout:
        raise UserError("--valid and --holdout both name a validation split; give one of them")
    seen: set[str] = set()
    for path in (*sources, *([] if valid is None else [valid])):
        true_path = _STDIN if str(path) == _STDIN else os.path.realpath(path)
        if true_path in seen:
            raise UserError(f"{path}: given twice; name each file once")
        seen.add(true_path)


def _check_target(folder: Path, overwrite: bool) -> None:
    """Raise UserError unless a corpus may be put at `folder`; nothing but a corpus is ever replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: exists and is not a folder; choose another name for the corpus")
    if not overwrite:
        raise UserError(f"{folder}: exists already; choose another name, or replace it with --overwrite")
    if any(folder.iterdir()):
        try:
            read_manifest(folder)
        except UserError as error:
            raise UserError(f"{folder}: not a corpus, so --overwrite will not delete it; remove it yourself") from error


class _Builder(AbstractContextManager["_Builder"]):
    """Reads sources into the splits of a folder that is being made; leaving its block closes their files."""

    def __init__(self, folder: Path, options: PrepareOptions, on_progress: Progress):
        self._folder, self._options, self._on_progress = folder, options, on_progress
        self._splits: dict[str, _Pending] = {}
        self._sources: list[Source] = []
        self._num_bytes = self._num_residues = 0
        self._open_splits = ExitStack()

    def __exit__(self, *exception: object) -> None:
        self._open_splits.close()

    def add(self, path: Path | str, split: str, selection: Selection) -> None:
        """Read one file: records held out go to `valid`, the others that are kept to `split`."""
        tally = _Tally()
        with _HashedSource(path) as source, FastaReader(cast(BinaryIO, source), self._options.reading) as reader:
            for record in reader:
                self._place(record, split, selection, tally, reader.name)
                if reader.counts.records % _RECORDS_PER_REPORT == 0:
                    self._on_progress(self._num_bytes + source.size, self._num_residues + reader.counts.residues)
            self._num_bytes += source.size
            self._num_residues += reader.counts.residues
            self._on_progress(self._num_bytes, self._num_residues)
            self._sources.append(tally.as_source(split, source, reader))

    def _place(self, record: Record, split: str, selection: Selection, tally: "_Tally", source_name: str) -> None:
        if not selection.has_word(record):
            tally.num_without_word += 1
        elif len(record.sequence) < selection.min_length:
            tally.num_too_short += 1
        elif selection.is_held_out(record, source_name):
            tally.num_held_out += 1
            self._pending("valid").add(record.sequence)
        else:
            self._pending(split).add(record.sequence)

    def _pending(self, split: str) -> "_Pending":
        if split not in self._splits:
            writer = SplitWriter(self._folder, split, self._options.shard_residues)
            self._open_splits.enter_context(writer)
            self._splits[split] = _Pending(writer, self._options.vocab)
        return self._splits[split]

    def finish(self) -> Manifest:
        """Write what is pending; returns the manifest, not yet written. UserError when a wanted split is empty."""
        wanted = {source.split for source in self._sources} | ({"valid"} if self._options.selection.holdout else set())
        for split in sorted(wanted - set(self._splits)):
            raise UserError(self._emptiness(split))
        return Manifest(
            pieces=self._options.vocab.pieces,
            splits={name: self._splits[name].finish() for name in sorted(self._splits)},
            sources=tuple(self._sources),
            options=self._options.as_json(),
            provenance=_provenance(),
        )

    def _emptiness(self, split: str) -> str:
        """Say why no record came into a split."""
        selection = self._options.selection
        sources = [source for source in self._sources if source.split == split] or self._sources
        num_records = sum(source.num_records for source in sources)
        if split == "valid" and selection.holdout:
            return f"--holdout {selection.holdout} put none of {num_records:,} records aside; give a larger fraction"
        if any(source.num_too_short for source in sources):
            return f"--min-length {selection.min_length} leaves none of {num_records:,} records for {split}; lower it"
        if any(source.num_held_out for source in sources):
            return f"--holdout {selection.holdout} put all of {num_records:,} records aside; give a smaller fraction"
        return f"none of {num_records:,} headers has the word {selection.keep_word!r} after its id; check the word"


class _Pending:
    """Sequences waiting to be encoded and written together."""

    def __init__(self, writer: SplitWriter, vocab: Vocab):
        self._writer, self._vocab = writer, vocab
        self._sequences: list[str] = []
        self._num_residues = 0

    def add(self, sequence: str) -> None:
        self._sequences.append(sequence)
        self._num_residues += len(sequence)
        if self._num_residues >= _BATCH_RESIDUES:
            self._write()

    def finish(self) -> Split:
        self._write()
        return self._writer.finish()

    def _write(self) -> None:
        self._writer.write(*self._vocab.encode_batch(self._sequences))
        self._sequences, self._num_residues = [], 0


@dataclass
class _Tally:
    """What became of one source's records."""

    num_without_word: int = 0
    num_too_short: int = 0
    num_held_out: int = 0

    def as_source(self, split: str, source: "_HashedSource", reader: FastaReader) -> Source:
        counts = reader.counts
        return Source(
            name=source.base_name,
            split=split,
            size=source.size,
            sha256=source.sha256,
            num_records=counts.records,
            num_residues=counts.residues,
            num_upper_cased=counts.upper_cased,
            num_stops_dropped=counts.stops_dropped,
            num_unknown_replaced=counts.unknown_replaced,
            **asdict(self),
        )


class _HashedSource:
    """A file or standard input, read once, that counts and hashes the bytes on their way."""

    def __init__(self, path: Path | str):
        is_stdin = str(path) == _STDIN
        self.name = "standard input" if is_stdin else str(path)
        self.base_name = _STDIN if is_stdin else Path(path).name
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = sys.stdin.buffer if is_stdin else _opened(path)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, num_bytes: int) -> bytes:
        block = self._file.read(num_bytes)
        self._hash.update(block)
        self.size += len(block)
        return block

    def __enter__(self) -> "_HashedSource":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.base_name != _STDIN:
            self._file.close()


def _opened(path: Path | str) -> BinaryIO:
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read ({reason.lower()}); name a readable FASTA file") from error


def _provenance() -> dict[str, str]:
    return {
        "openankh": openankh.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
