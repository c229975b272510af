"""What a search answers: for each query its neighbours, with what their labels say; and how it is written.

In CSV and TSV one row a neighbour, in JSON one object a query. Texts that a spreadsheet would run as a formula are
written behind an apostrophe in CSV and TSV.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from openankh.errors import UserError
from openankh.files import atomic_file
from openankh.search.reliability import Reliability
from openankh.search.transfer import Transfer

FORMATS = (".csv", ".tsv", ".json")
LabelNames = Sequence[tuple[str, tuple[str, ...]]]
"""Each kind of label with the names of its levels ("" where it has none)."""


@dataclass(frozen=True)
class Neighbour:
    """One neighbour: rank (from 1), id, place among the proteins searched (from 0), distance by the metric, cosine
    similarity (None for a zero vector), and what its labels say of the query.
    """

    rank: int
    id: str
    place: int
    distance: float
    similarity: float | None
    transfers: tuple[Transfer, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A query's id and its neighbours, nearest first; fewer than asked for where there are no more."""

    query: str
    neighbours: tuple[Neighbour, ...]


class AnswerWriter(Protocol):
    """Answers being written."""

    def write(self, answer: Answer) -> None:
        """Append one answer."""
        ...

    def finish(self) -> None:
        """Write what ends the file."""
        ...


def check_output(name: str, overwrite: bool) -> Path:
    """The file that a user named for the answers; UserError for an unknown ending and for what stands there already."""
    path = Path(name)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{name}: unknown ending {path.suffix!r}; use {', '.join(FORMATS)}")
    if path.exists() and not overwrite:
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


@contextmanager
def writing_answers(path: Path, labels: LabelNames) -> Iterator[AnswerWriter]:
    """Write answers to a file that appears when the block ends well."""
    with atomic_file(path) as file:
        writer = answer_writer(file, path.suffix.lower(), labels)
        yield writer
        writer.finish()


def answer_writer(file: BinaryIO, ending: str, labels: LabelNames) -> AnswerWriter:
    """What writes answers in the format of this ending to an open file."""
    if ending == ".json":
        return _JsonWriter(file)
    return _TableWriter(file, "\t" if ending == ".tsv" else ",", labels)


class _TableWriter:
    def __init__(self, file: BinaryIO, delimiter: str, labels: LabelNames) -> None:
        self._file = file
        self._delimiter = delimiter
        self._labels = labels
        self._write_rows([column_names(labels)])

    def write(self, answer: Answer) -> None:
        self._write_rows(map(_cell, row_of(answer.query, each, self._labels)) for each in answer.neighbours)

    def finish(self) -> None:
        pass

    def _write_rows(self, rows: Iterable[Iterable[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        # Bytes of ids that are not UTF-8 go out as they came in.
        self._file.write(text.getvalue().encode("utf-8", "surrogateescape"))


class _JsonWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._separator = "[\n"

    def write(self, answer: Answer) -> None:
        text = json.dumps(answer_object(answer), ensure_ascii=True)
        self._file.write(f"{self._separator}{text}".encode())
        self._separator = ",\n"

    def finish(self) -> None:
        self._file.write(b"\n]\n" if self._separator == ",\n" else b"[]\n")


def column_names(labels: LabelNames) -> list[str]:
    """The names of a table's columns."""
    names = ["query", "rank", "neighbour", "distance", "similarity"]
    for name, levels in labels:
        names.append(name)
        for level in levels:
            suffix = f"_{level}" if level else ""
            names += [f"{name}_reliability{suffix}", f"{name}_pairs{suffix}"]
    return names


def row_of(query: str, neighbour: Neighbour, labels: LabelNames) -> list[str | int | float | None]:
    """One row of a table: texts, numbers, None where nothing is known."""
    row: list[str | int | float | None] = [
        query,
        neighbour.rank,
        neighbour.id,
        neighbour.distance,
        neighbour.similarity,
    ]
    for (_, levels), transfer in zip(labels, neighbour.transfers, strict=True):
        known = dict(transfer.reliability)
        row.append(transfer.label)
        for level in levels:
            found = known.get(level)
            row += [found.share, found.num_pairs] if found else [None, None]
    return row


def answer_object(answer: Answer) -> Mapping[str, Any]:
    """An answer as JSON holds it."""
    neighbours = [
        {
            "rank": each.rank,
            "id": each.id,
            "distance": _rounded(each.distance),
            "similarity": _rounded(each.similarity),
            **({"labels": _labels_object(each.transfers)} if each.transfers else {}),
        }
        for each in answer.neighbours
    ]
    return {"query": answer.query, "neighbours": neighbours}


def _labels_object(transfers: Iterable[Transfer]) -> Mapping[str, Any]:
    return {each.name: {"label": each.label or None, **_reliability_object(each.reliability)} for each in transfers}


def _reliability_object(by_level: Sequence[tuple[str, Reliability]]) -> Mapping[str, Any]:
    objects = {name: {"share": _rounded(found.share), "pairs": found.num_pairs} for name, found in by_level}
    return {"reliability": objects.get("", objects)}


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return _harmless(value) if isinstance(value, str) else str(value)


def _harmless(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would take it for a formula."""
    if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and len(text) > 1 and not _is_number(text)):
        return "'" + text
    return text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
