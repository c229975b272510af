"""A task is data: what is predicted of what, from which files, in which splits, judged how.

Read from a TOML file of at most 60 lines, of which unknown keys are refused.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from openankh.errors import UserError

Unit = Literal["residue", "pair", "protein"]
Target = Literal["classes", "number", "labels", "contacts", "code"]
MetricName = Literal["accuracy", "mcc", "f1", "auc", "spearman", "precision_at_L/5", "transfer"]
Atom = Literal["CA", "CB"]


@dataclass(frozen=True)
class Source:
    """A table of the data folder: which columns say what, and to which splits its rows belong.

    All rows belong to `split`, or each to what `splits` makes of its cell in `split_column` (a cell that `splits` does
    not name leaves the row out). `mask`: columns of one 0 or 1 a residue; where one has 0 the residue is not counted.
    """

    file: str
    label: str = ""
    sequence: str = "sequence"
    id: str = ""
    mask: tuple[str, ...] = ()
    split: str = ""
    split_column: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Splits that the data does not have, cut by clusters of similar sequences: shares of the proteins of `of`."""

    of: str = "train"
    valid: float = 0.0
    test: float = 0.0
    identity: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Coordinates:
    """Where the atoms of chains are: an NPZ file of C-alpha coordinates, or an archive of PDB files; which atom."""

    file: str
    atom: Atom = "CA"
    chain_column: str = ""
    max_angstroms: float = 8.0


@dataclass(frozen=True)
class Task:
    """What is predicted, from what, and how it is judged.

    `unit` is what has a target: each residue, each pair of residues, the protein. `target`: one of `classes`, a number,
    any of several `labels`, contacts, or a code found by nearest neighbours (without training). Labels named in `skip`
    leave their rows out. The first of `metrics` is the one that chooses the best epoch. `citation` tells where data and
    protocol come from, `published` what others reached.
    """

    name: str
    title: str
    unit: Unit
    target: Target
    metrics: tuple[MetricName, ...]
    sources: tuple[Source, ...]
    citation: str
    classes: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    separator: str = "|"
    cut: Cut | None = None
    coordinates: Coordinates | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""

    @property
    def metric(self) -> MetricName:
        """The metric that decides."""
        return self.metrics[0]

    @property
    def is_trained(self) -> bool:
        """Whether a head learns it; else neighbours are looked up."""
        return self.target != "code"

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the data folder that it reads."""
        named = [source.file for source in self.sources] + ([self.coordinates.file] if self.coordinates else [])
        return tuple(dict.fromkeys(named))


def read_task(path: Path) -> Task:
    """Read a task from its file, whose name is the task's; UserError in one line for what is none."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a task's name or its TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a task in TOML ({error}); see docs/data.md") from None
    _require_keys(path, "", found, Task, without=("name",))
    sources = tuple(_value(path, "sources", Source, each) for each in _list_of_tables(path, found, "sources"))
    parts = {"cut": Cut, "coordinates": Coordinates}
    made = {key: _value(path, key, kind, found[key]) for key, kind in parts.items() if key in found}
    plain = {key: _tuples(value) for key, value in found.items() if key not in ("sources", *parts)}
    try:
        task = Task(name=path.stem, sources=sources, **plain, **made)
    except TypeError as error:
        raise UserError(f"{path}: incomplete ({str(error).split('__init__() ')[-1]}); see docs/data.md") from None
    _check(path, task)
    return task


def _check(path: Path, task: Task) -> None:
    for key, value, legal in (
        ("unit", task.unit, get_args(Unit)),
        ("target", task.target, get_args(Target)),
        *(("metric", metric, get_args(MetricName)) for metric in task.metrics),
    ):
        if value not in legal:
            raise UserError(f"{path}: {key} {value!r} is not one of {', '.join(legal)}")
    if not task.sources or not task.metrics:
        raise UserError(f"{path}: a task needs sources and metrics; see docs/data.md")
    if (task.target == "contacts") != (task.coordinates is not None):
        raise UserError(f"{path}: contacts, and they alone, come from [coordinates]; see docs/data.md")
    for source in task.sources:
        if bool(source.split) == bool(source.split_column):
            raise UserError(f"{path}: {source.file} needs split or split_column, one of the two")


def _list_of_tables(path: Path, found: Mapping[str, Any], key: str) -> list[Any]:
    tables = found.get(key, [])
    if not isinstance(tables, list):
        raise UserError(f"{path}: {key} is one table; write [[{key}]] above each")
    return tables


def _value(path: Path, key: str, kind: type, found: Any) -> Any:
    if not isinstance(found, dict):
        raise UserError(f"{path}: {key} is no table; see docs/data.md")
    _require_keys(path, f"{key}.", found, kind)
    try:
        return kind(**{name: _tuples(value) for name, value in found.items()})
    except TypeError as error:
        raise UserError(f"{path}: {key} is incomplete ({str(error).split('__init__() ')[-1]})") from None


def _require_keys(path: Path, where: str, found: Mapping[str, Any], kind: type, without: tuple[str, ...] = ()) -> None:
    known = [each.name for each in fields(kind) if each.name not in without]
    for key in found:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
            raise UserError(f"{path}: unknown key {where}{key}; {hint}")


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
