"""What is known of the proteins searched: labels from a table, or from the headers of a FASTA file.

A table has a header line; its column `id` (or, without one, its first) names proteins, every other column is a label.
In FASTA headers labels are written `key=value`; a value goes on until the next `key=`, as in UniProt's `OS=Homo sapiens
OX=9606`.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from openankh.decompression import ByteSource, InputError, printable
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions

ANY_LETTER = ReadOptions(letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ", unknown="x")
"""Headers are read here; whether the residues suit a model is not this reader's question."""

_PAIR = re.compile(r"(?:^|(?<=\s))([A-Za-z_][\w.-]*)=(.*?)(?=\s+[A-Za-z_][\w.-]*=|$)", re.DOTALL)
_TAB_ENDINGS = (".tsv", ".tab", ".txt")
_COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
_NOT_LABELS = {"sequence", "seq"}


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """One kind of label: its name, and the label of each protein searched, "" where it has none."""

    name: str
    values: tuple[str, ...]

    @property
    def num_labelled(self) -> int:
        """Proteins that have this label."""
        return sum(value != "" for value in self.values)


def read_labels(path: Path | str, ids: Sequence[str], names: Sequence[str] = ()) -> tuple[LabelColumn, ...]:
    """The labels of the proteins of these ids, from a table (CSV; TSV by its ending) or a FASTA file's headers.

    `names`: the columns or keys wanted; of a table all but `sequence` when none are named, of a FASTA file at least one
    must be. Raises UserError in one line for a table that is malformed, names a protein twice with different labels, or
    knows none of the ids.
    """
    wanted = set(ids)
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    header: tuple[str, ...] = ()
    some_id = ""
    for row in _rows(Path(path), names):
        header, some_id = row.names, some_id or row.id
        if row.id not in wanted:
            continue
        line, values = found.setdefault(row.id, (row.line, row.values))
        if values != row.values:
            raise UserError(
                f"{path}, line {row.line}: {printable(row.id)} has other labels than on line {line}; keep one of them"
            )
    if not found:
        raise UserError(
            f"{path}: labels none of the {len(ids):,} proteins searched (it begins with {printable(some_id)!r}, they "
            f"with {printable(ids[0]) if ids else ''!r}); the ids must be the same"
        )
    none = tuple("" for _ in header)
    columns = zip(*(found.get(name, (0, none))[1] for name in ids), strict=True)
    return tuple(LabelColumn(name, values) for name, values in zip(header, columns, strict=True))


@dataclass(frozen=True)
class _Row:
    """The labels of one protein: their names, the protein's id, its labels and the line they stand on."""

    names: tuple[str, ...]
    id: str
    values: tuple[str, ...]
    line: int


def _rows(path: Path, names: Sequence[str]) -> Iterator[_Row]:
    with ByteSource(path) as source:
        head = next(source.blocks(), b"")
    return _fasta_rows(path, names) if head.lstrip().startswith(b">") else _table_rows(path, names)


def _fasta_rows(path: Path, names: Sequence[str]) -> Iterator[_Row]:
    if not names:
        raise UserError(f"{path}: name the key of its headers that is the label, as in --label family")
    seen: set[str] = set()
    for record in FastaReader(path, ANY_LETTER):
        pairs = header_labels(record.description)
        seen.update(name for name in names if name in pairs)
        yield _Row(tuple(names), record.id, tuple(pairs.get(name, "") for name in names), record.line)
    for name in names:
        if name not in seen:
            raise UserError(f"{path}: no header says {printable(name)}=…; check the key's spelling")


def header_labels(description: str) -> Mapping[str, str]:
    """The `key=value` pairs of a FASTA description."""
    return {name: value.strip() for name, value in _PAIR.findall(description)}


def _table_rows(path: Path, names: Sequence[str]) -> Iterator[_Row]:
    lines = _Lines(path)
    reader = csv.reader(lines, delimiter=_delimiter(path), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        at, chosen = _columns(path, header, names)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(row)} columns where the header has {len(header)}; mend it"
                )
            values = tuple(row[place].strip() for place in chosen)
            yield _Row(tuple(header[place] for place in chosen), row[at].strip(), values, reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a table ({error}); check its quotes") from None


def _columns(path: Path, header: Sequence[str], names: Sequence[str]) -> tuple[int, list[int]]:
    """(place of the ids, places of the labels) in the rows of a table."""
    if len(header) < 2:
        raise UserError(f"{path}: the header line has no two columns; write id,label above the rows")
    lower = [name.lower() for name in header]
    at = lower.index("id") if "id" in lower else 0
    if not names:
        chosen = [place for place, name in enumerate(lower) if place != at and name not in _NOT_LABELS]
        if not chosen:
            raise UserError(f"{path}: no column but {header[at]!r} and sequences; add one with labels")
        return at, chosen
    for name in names:
        if name not in header:
            near = get_close_matches(name, header, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(printable, header))}"
            raise UserError(f"{path}: no column {printable(name)!r}; {hint}")
    return at, [header.index(name) for name in names]


def _delimiter(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    return "\t" if suffixes and suffixes[-1] in _TAB_ENDINGS else ","


class _Lines(Iterable[str]):
    """The lines of a text file, plain or compressed, with their ends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[str]:
        rest, number = b"", 0
        try:
            with ByteSource(self._path) as source:
                for block in source.blocks():
                    *lines, rest = (rest + block).split(b"\n")
                    for line in lines:
                        number += 1
                        yield self._text(line + b"\n", number)
                if rest:
                    yield self._text(rest, number + 1)
        except InputError as fault:
            raise UserError(f"{self._path}: {fault.problem}") from None

    def _text(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{self._path}, line {number}: not UTF-8 text; save the table as UTF-8") from None
