"""A user's own labelled proteins as a task: recognised, checked, split by clusters, told before anything is trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from openankh.decompression import printable
from openankh.errors import UserError
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.loading import encoder_of, examples_of, finish
from openankh.tasks.own_rows import Columns, OwnRows, read_rows
from openankh.tasks.recognition import Kind, Recognised, is_number, recognise
from openankh.tasks.row import Row
from openankh.tasks.splitting import METHODS, Method
from openankh.tasks.target_space import NOT_KNOWN, Classes, Labels, Numbers, TargetSpace
from openankh.tasks.task import Cut, Task

SHOWN_CLASSES = 12


@dataclass(frozen=True)
class OwnOptions:
    """How a user's file is read and divided.

    `columns` names its columns, `kind` what the labels are. Where the file says no split, `valid` and `test` are the
    shares of proteins cut off by clusters of sequences alike (`method`: MMseqs2 where it is installed, else common
    words, and at random where nearly all proteins are one family; `identity` from 0 to 1), drawn as `seed` decides.
    """

    columns: Columns = field(default_factory=Columns)
    kind: Kind = "auto"
    valid: float = 0.1
    test: float = 0.1
    identity: float = 0.3
    method: Method = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.valid < 1 or not 0 <= self.test < 1 or self.valid + self.test >= 1:
            raise UserError(f"valid {self.valid} and test {self.test}: shares of the proteins, together under 1")
        if self.method not in METHODS:
            raise UserError(f"method {self.method!r}: not one of {', '.join(METHODS)}")
        if not 0 < self.identity <= 1:
            raise UserError(f"identity {self.identity}: a share from 0 to 1, as 0.3")


@dataclass(frozen=True, eq=False)
class OwnData:
    """The data of a user's task, and what was recognised in the file."""

    data: TaskData
    recognised: Recognised

    @property
    def description(self) -> tuple[str, ...]:
        """What is about to be learned, a line each: the kind of labels, their spread, the splits."""
        splits = ", ".join(f"{name} {len(part):,}" for name, part in self.data.splits.items())
        return (
            f"labels: {self.recognised.why}",
            f"{self.data.task.unit} targets: {_spread(self.data)}",
            f"proteins: {splits}",
            *self.data.notes,
        )


def read_own_data(path: Path | str, options: OwnOptions | None = None) -> OwnData:
    """Read a CSV, TSV, Parquet or FASTA file of proteins with labels; UserError in one line for each kind of fault."""
    options = options or OwnOptions()
    found = read_rows(path, options.columns)
    recognised = recognise(found.rows, options.kind)
    task = _task(Path(path), recognised, found, options)
    space = _space(task, found.rows)
    _require_members(task, found.rows)
    encode = encoder_of(task, space)
    parts: dict[str, list[Row]] = {}
    for row, split in zip(found.rows, found.splits, strict=True):
        parts.setdefault(split or "train", []).append(row)
    _require_learned(task, parts)
    splits = {name: examples_of(parts[name], encode) for name in ("train", "valid", "test") if name in parts}
    return OwnData(_with_doubts(finish(task, space, splits, options.method), found.rows), recognised)


def _with_doubts(data: TaskData, rows: Sequence[Row]) -> TaskData:
    """Tell of proteins that the file labels in several ways."""
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.sequence, set()).add(row.label)
    num = sum(len(found) > 1 for found in labels.values())
    if not num:
        return data
    return replace(data, notes=(*data.notes, f"{num:,} sequences come several times, with different labels"))


def _task(path: Path, recognised: Recognised, found: OwnRows, options: OwnOptions) -> Task:
    """The task that the file makes; what its splits lack is cut from its training proteins."""
    cut = Cut("train", options.valid, options.test, options.identity, options.seed)
    if found.has_splits:
        if "train" not in found.splits:
            raise UserError(f"{path}: no row has the split train; say train, valid or test in the column split")
        cut = None if "valid" in found.splits else Cut("train", options.valid, 0.0, options.identity, options.seed)
    return Task(
        name=path.name.split(".")[0] or "own",
        title=path.name,
        unit=recognised.unit,
        target=recognised.target,
        metrics=recognised.metrics,
        sources=(),
        citation="",
        separator=recognised.separator,
        cut=cut,
    )


def _space(task: Task, rows: Sequence[Row]) -> TargetSpace:
    if task.target == "number":
        return Numbers()
    if task.unit == "residue":
        letters = {letter for row in rows for letter in row.label}
        return Classes(_sorted(letters - set(NOT_KNOWN)))
    if task.target == "labels":
        none = Labels((), task.separator)
        return Labels(_sorted({part for row in rows for part in none.parts(row.label)}), task.separator)
    return Classes(_sorted({row.label for row in rows}))


def _sorted(names: set[str]) -> tuple[str, ...]:
    """In the order of numbers where all are numbers, else of letters."""
    is_numeric = all(map(is_number, names))
    return tuple(sorted(names, key=lambda name: (float(name) if is_numeric else 0, name)))


def _require_members(task: Task, rows: Sequence[Row]) -> None:
    """At least two classes, each with at least two proteins (or residues): one to learn from, one to measure."""
    if task.target != "classes":
        return
    if task.unit == "residue":
        counts = Counter(letter for row in rows for letter in row.label if letter not in NOT_KNOWN)
    else:
        counts = Counter(row.label for row in rows)
    table = rows[0].table
    if len(counts) < 2:
        raise UserError(f"{table}: all labels are {printable(next(iter(counts), ''))!r}; there is nothing to learn")
    lonely = next((label for label, num in counts.items() if num == 1), None)
    if lonely is not None:
        row = next(row for row in rows if lonely in (row.label if task.unit == "residue" else (row.label,)))
        raise UserError(
            f"{row.place}: the only member of class {printable(lonely)!r}; one to learn from and one to measure are "
            "the least, so add more, merge it with another class, or remove it"
        )


def _require_learned(task: Task, parts: Mapping[str, Sequence[Row]]) -> None:
    """Every class that is asked for is also learned."""
    if task.target == "number":
        return
    learned = {name for row in parts["train"] for name in _names(task, row)}
    for split in ("valid", "test"):
        for row in parts.get(split, ()):
            unknown = next((name for name in _names(task, row) if name not in learned), None)
            if unknown is not None:
                raise UserError(
                    f"{row.place}: label {printable(unknown)!r} of the split {split} is unknown to train, which has "
                    "none of it; move some there, or remove it"
                )


def _names(task: Task, row: Row) -> Sequence[str]:
    if task.unit == "residue":
        return [letter for letter in dict.fromkeys(row.label) if letter not in NOT_KNOWN]
    return Labels((), task.separator).parts(row.label) if task.target == "labels" else (row.label,)


def _spread(data: TaskData) -> str:
    examples = _joined(data)
    if isinstance(data.space, Numbers):
        values = np.array(examples.targets, np.float64)
        return f"numbers from {values.min():g} to {values.max():g}, median {np.median(values):g}"
    assert isinstance(data.space, Classes | Labels)
    names = data.space.names
    if isinstance(data.space, Labels):
        counts = np.sum(examples.targets, axis=0)
    else:
        flat = np.concatenate([np.atleast_1d(target) for target in examples.targets])
        counts = np.bincount(flat[flat >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:SHOWN_CLASSES]
    shown = ", ".join(f"{printable(names[at])} ({counts[at]:,})" for at in order)
    return f"{len(names)} classes: {shown}{', …' if len(names) > SHOWN_CLASSES else ''}"


def _joined(data: TaskData) -> Examples:
    """The examples of all splits."""
    parts = data.splits.values()
    return Examples(
        tuple(each for part in parts for each in part.ids),
        tuple(each for part in parts for each in part.sequences),
        tuple(each for part in parts for each in part.targets),
    )
