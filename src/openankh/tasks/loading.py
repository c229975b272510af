"""A task's data read from its files, checked, in splits of which none shares a sequence with another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.residues import ReadOptions
from openankh.tasks.coordinates import read_coordinates
from openankh.tasks.data_folder import DataSource
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.pdb_file import read_archive
from openankh.tasks.row import Row
from openankh.tasks.splitting import Method, cut_by_clusters
from openankh.tasks.table import Table, read_table
from openankh.tasks.target_space import (
    IGNORED,
    NOT_KNOWN,
    Classes,
    Codes,
    Contacts,
    LabelError,
    Labels,
    Numbers,
    TargetSpace,
)
from openankh.tasks.task import Source, Task

_KNOWN = frozenset(ReadOptions().letters)
Encode = Callable[[Row], NDArray]


def load_task(task: Task, data: DataSource) -> TaskData:
    """Read, check and split a task's data; UserError in one line for what is missing or wrong, and where."""
    missing = _missing_tests(task, data)
    rows = _rows_by_split(task, data, missing)
    space = space_of(task, rows)
    encode = _encoder(task, space, data)
    splits = {split: examples_of(found, encode) for split, found in rows.items() if found}
    loaded = finish(task, space, splits)
    notes = [f"no {source.split}: {source.file} is not there" for source in missing]
    return replace(loaded, notes=(*notes, *loaded.notes))


def finish(task: Task, space: TargetSpace, splits: Mapping[str, Examples], method: Method = "words") -> TaskData:
    """The data of a task with proteins left out that occur in several splits, and cut where it has a cut."""
    notes: list[str] = []
    splits = without_repeats(splits, notes)
    if task.cut is not None:
        division = cut_by_clusters(splits, task.cut, method)
        splits = division.splits
        parts = " and ".join(name for name, share in (("valid", task.cut.valid), ("test", task.cut.test)) if share)
        notes.append(f"{parts} cut from {task.cut.of} {division.how}")
    for name in ("train", "valid") if task.is_trained else ("lookup",):
        if not len(splits.get(name, ())):
            raise UserError(f"{task.name}: the split {name} is empty; name its rows {name!r} in the column split")
    if isinstance(space, Numbers):
        values = np.array(splits["train"].targets, np.float64)
        space = Numbers(float(values.mean()), float(values.std()) or 1.0)
    return TaskData(task, space, splits, tuple(notes))


def space_of(task: Task, rows: Mapping[str, Sequence[Row]]) -> TargetSpace:
    """What the targets of a task are; classes it does not name are those of its training rows."""
    if task.target == "contacts":
        assert task.coordinates is not None
        return Contacts(task.coordinates.max_angstroms)
    if task.target == "number":
        return Numbers()
    if task.target == "code":
        return Codes()
    labels = [row.label for row in rows.get("train", ())]
    if task.unit == "residue" and not task.classes:
        return Classes(tuple(sorted({letter for text in labels for letter in text} - set(NOT_KNOWN))))
    if task.target == "labels":
        parts = {part for text in labels for part in Labels((), task.separator).parts(text)}
        return Labels(task.classes or tuple(sorted(parts)), task.separator)
    return Classes(task.classes or tuple(sorted(set(labels))))


def encoder_of(task: Task, space: TargetSpace) -> Encode:
    """What makes the target of a row; it raises LabelError."""
    if isinstance(space, Classes) and task.unit == "residue":
        return lambda row: _residue_classes(row, space)
    assert not isinstance(space, Contacts)
    return lambda row: space.encode(row.label)


def without_repeats(splits: Mapping[str, Examples], notes: list[str]) -> dict[str, Examples]:
    """Leave proteins out of training and validation whose very sequence is measured on: tests first, then validation.

    What a lookup set shares with its queries is left out query by query.
    """
    order = sorted(splits, key=lambda name: (not name.startswith("test"), name != "valid"))
    taken: set[str] = set()
    kept: dict[str, Examples] = {}
    for name in order:
        examples = splits[name]
        if name in ("train", "valid"):
            places = [place for place, sequence in enumerate(examples.sequences) if sequence not in taken]
            if len(places) < len(examples):
                num = len(examples) - len(places)
                notes.append(f"left out of {name}: {num:,} proteins whose very sequence is measured on")
                examples = examples.at(places)
        taken.update(examples.sequences)
        kept[name] = examples
    return {name: kept[name] for name in splits}


def _missing_tests(task: Task, data: DataSource) -> tuple[Source, ...]:
    """Sources of test sets that are not there, as long as one is: the others are measured without them."""
    tests = [source for source in task.sources if source.split.startswith("test")]
    missing = tuple(source for source in tests if not data.has(source.file))
    return missing if len(missing) < len(tests) else ()


def _rows_by_split(task: Task, data: DataSource, missing: Sequence[Source]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for source in task.sources:
        if source in missing:
            continue
        table = read_table(data.path(source.file))
        for split, row in _rows(task, source, table):
            if row.label not in task.skip:
                rows.setdefault(split, []).append(row)
    return rows


def _rows(task: Task, source: Source, table: Table) -> Sequence[tuple[str, Row]]:
    """(split, row) of each row that belongs to a split."""
    num = len(table)
    ids = table.column(source.id) if source.id else tuple(map(str, table.lines))
    labels = table.column(source.label) if source.label else ("",) * num
    masks = list(zip(*(table.column(name) for name in source.mask), strict=True)) if source.mask else [()] * num
    chain_column = task.coordinates.chain_column if task.coordinates else ""
    chains = table.column(chain_column) if chain_column else ("",) * num
    cells = table.column(source.split_column) if source.split_column else ("",) * num
    found = []
    columns = zip(cells, table.lines, ids, table.column(source.sequence), labels, masks, chains, strict=True)
    for cell, line, name, sequence, label, mask, chain in columns:
        split = source.splits.get(cell, "") if source.split_column else source.split
        if split:
            found.append((split, Row(table.name, line, name, _as_read(sequence), label, mask, chain)))
    return found


def _as_read(sequence: str) -> str:
    """A sequence in capitals; letters beyond those of the usual vocabularies become X."""
    sequence = sequence.upper()
    if set(sequence) <= _KNOWN:
        return sequence
    return "".join(letter if letter in _KNOWN else "X" for letter in sequence)


def _encoder(task: Task, space: TargetSpace, data: DataSource) -> Encode:
    if task.coordinates is None:
        return encoder_of(task, space)
    path = data.path(task.coordinates.file)
    if path.suffix == ".npz":
        coordinates = read_coordinates(path)
        return lambda row: coordinates.of(row.id, len(row.sequence))
    return _structures(path, task)


def _structures(path: Path, task: Task) -> Encode:
    assert task.coordinates is not None
    files = read_archive(path, task.coordinates.atom)

    def xyz_of(row: Row) -> NDArray:
        chain = files.get(row.id, {}).get(row.chain)
        if chain is None:
            raise LabelError(f"{path} has no chain {row.chain} of {row.id}")
        if chain.sequence != row.sequence:
            raise LabelError(f"chain {row.chain} of {row.id} has another sequence in {path}")
        return chain.xyz_L3

    return xyz_of


def _residue_classes(row: Row, space: Classes) -> NDArray[np.int64]:
    """The class of each residue, IGNORED where a mask says 0."""
    for what, text in (("label string", row.label), *(("mask", mask) for mask in row.masks)):
        if len(text) != len(row.sequence):
            raise LabelError(f"{len(row.sequence)} residues and a {what} of {len(text)} letters")
    classes_L = space.encode_residues(row.label)
    for mask in row.masks:
        if odd := set(mask) - {"0", "1"}:
            raise LabelError(f"mask has {min(odd)!r}; write 1 for residues that count and 0 for others")
        is_counted_L = np.frombuffer(mask.encode("ascii"), np.uint8) == ord("1")
        classes_L = np.where(is_counted_L, classes_L, IGNORED)
    return classes_L


def examples_of(rows: Sequence[Row], encode: Encode) -> Examples:
    """The proteins of rows; UserError naming the row of the first target that is wrong."""
    targets = []
    for row in rows:
        try:
            targets.append(encode(row))
        except LabelError as error:
            raise UserError(f"{row.place}: {error}") from None
        if not row.sequence:
            raise UserError(f"{row.place}: has no sequence; add it or remove the row")
    return Examples(tuple(row.id for row in rows), tuple(row.sequence for row in rows), tuple(targets))
