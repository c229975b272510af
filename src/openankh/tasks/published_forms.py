"""How published files are written: from their bytes to the rows of a table of the data layout."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from openankh.errors import UserError
from openankh.fasta import FastaReader, Record
from openankh.search.labels import ANY_LETTER, header_labels

Rows = list[Sequence[str]]
"""The header first."""
Form = Callable[[Sequence[bytes], str], Rows]
_MOST_BYTES = 1 << 30


def flip_table(files: Sequence[bytes], part: str) -> Rows:
    """A CSV of FLIP's archives: sequence, target, set (train, test), validation (True for some of train)."""
    text = _member(files[0], part).decode("utf-8-sig")
    rows: Rows = [("sequence", "target", "split")]
    for row in csv.DictReader(io.StringIO(text)):
        rows.append((row["sequence"], row["target"], _flip_split(row["set"], row.get("validation") or "")))
    return rows


def flip_residues(files: Sequence[bytes], part: str) -> Rows:
    """FASTA of FLIP's archives: sequences, labels with `SET=` and `VALIDATION=` in the header, resolved or not."""
    labels = _records(_member(files[0], "sampled.fasta"))
    sequences = {record.id: record.sequence for record in _records(_member(files[0], "sequences.fasta"))}
    masks = _plain_records(_member(files[0], "mask.fasta")) if _has(files[0], "mask.fasta") else {}
    rows: Rows = [("id", "sequence", "ss3", "resolved")]
    for record in labels:
        said = header_labels(record.description)
        if _flip_split(said.get("SET", ""), said.get("VALIDATION", "")) == part:
            sequence = sequences[record.id]
            rows.append((record.id, sequence, record.sequence, masks.get(record.id, "1" * len(sequence))))
    return rows


def deeploc(files: Sequence[bytes], part: str) -> Rows:
    """One FASTA file a split, headers such as `>P1 Cell.membrane-M`: the place, then whether in a membrane."""
    rows: Rows = [("id", "sequence", "location", "split")]
    for split, content in zip(part.split(), files, strict=True):
        for record in _records(content):
            place = record.description.split()[0] if record.description else ""
            rows.append((record.id, record.sequence, place.rpartition("-")[0], split))
    return rows


FORMS: Mapping[str, Form] = {"flip table": flip_table, "flip residues": flip_residues, "deeploc": deeploc}


def _flip_split(name: str, validation: str) -> str:
    return "valid" if name == "train" and validation.strip().lower() == "true" else name


def _records(content: bytes) -> Iterable[Record]:
    return FastaReader(io.BytesIO(content), ANY_LETTER)


def _plain_records(content: bytes) -> Mapping[str, str]:
    """FASTA whose letters are no residues: id to the letters."""
    found: dict[str, str] = {}
    for block in content.decode("ascii").replace("\r\n", "\n").split(">")[1:]:
        header, _, body = block.partition("\n")
        found[header.split()[0]] = "".join(body.split())
    return found


def _has(archive: bytes, name: str) -> bool:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return any(Path(each).name == name and "__MACOSX" not in each for each in file.namelist())


def _member(archive: bytes, name: str) -> bytes:
    """A file of a ZIP archive by its bare name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        for each in file.infolist():
            if Path(each.filename).name == name and "__MACOSX" not in each.filename:
                if each.file_size > _MOST_BYTES:
                    raise UserError(f"{each.filename}: unpacks to {each.file_size:,} bytes; the archive is damaged")
                return file.read(each)
    raise KeyError(name)
