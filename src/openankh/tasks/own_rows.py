"""The proteins and labels of a user's file: a table (CSV, TSV, Parquet), or FASTA with `label=…` in its headers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openankh.decompression import ByteSource, printable
from openankh.errors import UserError
from openankh.fasta import FastaReader
from openankh.residues import MisfitError, ReadCounts, ReadOptions, Residues
from openankh.search.labels import header_labels
from openankh.tasks.parquet_table import read_parquet
from openankh.tasks.row import Row
from openankh.tasks.table import Table, plain_suffix, read_table

SPLIT_NAMES = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which columns, or keys of FASTA headers, hold what; `id`, `split` and `mask` may be missing."""

    sequence: str = "sequence"
    label: str = "label"
    split: str = "split"
    id: str = "id"
    mask: str = "mask"
    unknown: Literal["error", "x"] = "error"


@dataclass(frozen=True)
class OwnRows:
    """All rows in order, and the split of each, "" where the file has none."""

    rows: tuple[Row, ...]
    splits: tuple[str, ...]

    @property
    def has_splits(self) -> bool:
        """Whether the file says which proteins are learned from."""
        return any(self.splits)


def read_rows(path: Path | str, columns: Columns) -> OwnRows:
    """Read a user's file; UserError in one line, with the row, for what is wrong with it."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{printable(str(path), 300)}: is a folder; name one table or FASTA file in it")
    if plain_suffix(path) == ".parquet":
        found = _table_rows(read_parquet(path), columns)
    else:
        with ByteSource(path) as source:
            head = next(source.blocks(), b"")
        is_fasta = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b">")
        found = _fasta_rows(path, columns) if is_fasta else _table_rows(read_table(path), columns)
    if not found.rows:
        raise UserError(f"{printable(str(path), 300)}: holds no proteins; give a table of {columns.sequence} and label")
    return found


def _table_rows(table: Table, columns: Columns) -> OwnRows:
    num = len(table)
    labels, sequences = table.column(columns.label), table.column(columns.sequence)
    ids = table.column(columns.id) if columns.id in table else tuple(map(str, table.lines))
    masks = [(text,) for text in table.column(columns.mask)] if columns.mask in table else [()] * num
    cells = table.column(columns.split) if columns.split in table else ("",) * num
    clean = _Cleaner(columns)
    rows, splits = [], []
    for line, name, sequence, label, mask, cell in zip(table.lines, ids, sequences, labels, masks, cells, strict=True):
        row = Row(table.name, line, name, sequence, label, mask)
        rows.append(Row(table.name, line, name, clean.sequence(row), label, mask))
        splits.append(split_named(row, cell) if columns.split in table else "")
    return OwnRows(tuple(rows), tuple(splits))


def _fasta_rows(path: Path, columns: Columns) -> OwnRows:
    """Headers such as `>P1 label=soluble split=train`; keys are compared without regard to case."""
    rows, splits = [], []
    name = printable(str(path), 300)
    for record in FastaReader(path, ReadOptions(unknown=columns.unknown)):
        pairs = {key.lower(): value for key, value in header_labels(record.description).items()}
        if columns.label.lower() not in pairs:
            raise UserError(
                f"{name}, line {record.line} ({printable(record.id)}): no {printable(columns.label)}=… in the header; "
                "add it, or name the key that holds the label"
            )
        mask = (pairs[columns.mask.lower()],) if columns.mask.lower() in pairs else ()
        row = Row(name, record.line, record.id, record.sequence, pairs[columns.label.lower()], mask)
        rows.append(row)
        splits.append(split_named(row, pairs[columns.split.lower()]) if columns.split.lower() in pairs else "")
    if any(splits) and not all(splits):
        row = rows[splits.index("")]
        raise UserError(f"{row.place}: no {printable(columns.split)}=… in the header, which others have; add it")
    return OwnRows(tuple(rows), tuple(splits))


def split_named(row: Row, cell: str) -> str:
    """The split that a cell names: train, valid or test; UserError for any other word."""
    found = SPLIT_NAMES.get(cell.lower())
    if found is None:
        raise UserError(f"{row.place}: split {printable(cell)!r} is none of train, valid, test; correct it")
    return found


class _Cleaner:
    """Sequences of cells as those of FASTA files: capitals, without a final `*`, of known letters alone."""

    def __init__(self, columns: Columns) -> None:
        self._residues = Residues(ReadOptions(unknown=columns.unknown))
        self._counts = ReadCounts()

    def sequence(self, row: Row) -> str:
        try:
            letters = self._residues.read(row.sequence.encode("utf-8", "surrogateescape"), self._counts)
        except MisfitError as misfit:
            raise UserError(f"{row.place}: residue {misfit.column}: {misfit.problem}") from None
        if not letters:
            raise UserError(f"{row.place}: has no sequence; add it or remove the row")
        return letters.decode("ascii")
