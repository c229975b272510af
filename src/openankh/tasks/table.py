"""A table of text cells: CSV or TSV (by its ending), plain or compressed, its columns by name."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from openankh.decompression import ByteSource, InputError, printable
from openankh.errors import UserError
from openankh.line_ends import LineEnds

COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
_TAB_ENDINGS = (".tsv", ".tab", ".txt")
MOST_LETTERS = 1 << 22
"""Letters a cell may have: more than the longest protein, and an end to a quote that is never closed."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, cells stripped of blanks; `lines` tells where in the file each row ends."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of a column; UserError naming the nearest of those there are."""
        if name not in self.columns:
            near = get_close_matches(name, list(self.columns), n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(map(printable, self.columns))}"
            raise UserError(f"{self.name}: no column {printable(name)!r}; {hint}")
        return self.columns[name]


def read_table(path: Path | str) -> Table:
    """Read a table with a header line; UserError in one line, with the line number, for what is none."""
    path = Path(path)
    name = printable(str(path), 300)
    previous = csv.field_size_limit(MOST_LETTERS)
    try:
        return _table(name, path)
    except csv.Error as error:
        raise UserError(f"{name}: not a table ({error}); check its quotes") from None
    finally:
        csv.field_size_limit(previous)


def plain_suffix(path: Path) -> str:
    """The ending of a name, in small letters, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSIONS]
    return suffixes[-1] if suffixes else ""


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, each with its LF; UserError for other bytes."""
    source = ByteSource(path)
    rest, number = b"", 0
    try:
        with source:
            for block in LineEnds(source.name).blocks(source.blocks()):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    number += 1
                    yield _text(line, source.name, number) + "\n"
            if rest:
                yield _text(rest, source.name, number + 1)
    except InputError as fault:
        raise UserError(f"{source.name}, line {number + 1}: {fault.problem}") from None


def _text(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{name}, line {number}: not UTF-8 text; save the table as UTF-8") from None


def _table(name: str, path: Path) -> Table:
    text = text_lines(path)
    first = next(text, "")
    reader = csv.reader(chain([first], text), delimiter=_delimiter(path, first), strict=True)
    header = _header(name, next(reader, []))
    rows: list[list[str]] = []
    lines: list[int] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            place = f"{name}, line {reader.line_num}"
            raise UserError(f"{place}: {len(row)} columns where the header has {len(header)}; mend the row")
        rows.append(row)
        lines.append(reader.line_num)
    cells = [tuple(cell.strip() for cell in column) for column in zip(*rows, strict=True)] or [()] * len(header)
    return Table(name, dict(zip(header, cells, strict=True)), tuple(lines))


def _delimiter(path: Path, header: str) -> str:
    """A tab or a comma by the file's ending; what the header has most of where it has none of those."""
    expected = "\t" if plain_suffix(path) in _TAB_ENDINGS else ","
    return expected if expected in header else max(expected, *",;\t", key=header.count)


def _header(name: str, cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise UserError(f"{name}: is empty; give a table with a header line, as sequence,label")
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise UserError(f"{name}: two columns are named {printable(twice)!r}; rename one of them")
    return header
