"""One finished measurement: a task, who took part, a head, a seed; kept as one small file, whole or not at all."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object

FORMAT, VERSION = "openankh-benchmark-cell", 1
CELLS = "cells"

Kind = Literal["model", "random", "baseline", "shuffled"]
"""`random`: the model's network with random weights; `shuffled`: the model, taught permuted labels."""


@dataclass(frozen=True)
class CellKey:
    """What is measured; `of` is the model that a control belongs to, of a baseline nothing."""

    task: str
    who: str
    kind: Kind
    head: str
    seed: int
    of: str = ""

    def path(self, out: Path) -> Path:
        """Where its file is."""
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in Path(self.who).name)
        digits = hashlib.sha256(f"{self.who}\n{self.kind}".encode()).hexdigest()[:8]
        return out / CELLS / self.task / f"{plain[:40]}-{digits}-{self.head}-{self.seed}.json"


@dataclass(frozen=True)
class CellSettings:
    """What decides the numbers of a cell beside its key; a cell is gone on with only when all are the same.

    `precision` is how the model computed, "" for who computes nothing.
    """

    limit: int | None
    train_limit: int | None
    epochs: int | None
    data_sha256: str
    model_sha256: str
    precision: str


@dataclass(frozen=True)
class Figure:
    """A metric with its 95 % interval over resampled proteins, None where it is not a number; `num` proteins."""

    value: float | None
    low: float | None
    high: float | None
    num: int


@dataclass(frozen=True)
class Seconds:
    """What it took: the rows of the model, next to nothing where they were there already; training; measuring.

    By wall, and in the processor's time of all threads, which other programs hardly disturb.
    """

    rows: float = 0.0
    rows_cpu: float = 0.0
    training: float = 0.0
    training_cpu: float = 0.0
    measuring: float = 0.0


@dataclass(frozen=True)
class Cell:
    """All that was measured.

    `figures`: metric by name by split. `draws`: the deciding metric of each test set over 1,000 resamplings, which are
    of the same proteins for everybody. `chance`, of shuffled labels alone: what chance comes to in each test set.
    `training`: best epoch and the like. `machine`: versions and processor. `command`: what measured it.
    """

    key: CellKey
    settings: CellSettings
    splits: Mapping[str, int]
    figures: Mapping[str, Mapping[str, Figure]]
    draws: Mapping[str, Sequence[float]]
    chance: Mapping[str, float]
    training: Mapping[str, float | int]
    seconds: Seconds
    machine: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def write_cell(out: Path, cell: Cell) -> None:
    """Write the cell's file, whole or not at all."""
    path = cell.key.path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _without_nan({"format": FORMAT, "version": VERSION, **asdict(cell)})
    write_file_atomically(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def read_cell(path: Path) -> Cell:
    """Read a cell; UserError for what is none, or damaged."""
    content = read_json_object(path)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise UserError(f"{path}: no result of openankh benchmark that is read here; remove it, or choose another -o")
    try:
        figures = {
            split: {name: Figure(**found) for name, found in by_name.items()}
            for split, by_name in content["figures"].items()
        }
        return Cell(
            CellKey(**content["key"]),
            CellSettings(**content["settings"]),
            content["splits"],
            figures,
            {name: [math.nan if each is None else each for each in draws] for name, draws in content["draws"].items()},
            content["chance"],
            content["training"],
            Seconds(**content["seconds"]),
            content["machine"],
            content["command"],
        )
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; remove it, and the same command measures it again") from None


def cells_in(out: Path) -> Iterator[Cell]:
    """All finished cells of a folder, by task and name."""
    for path in sorted((out / CELLS).glob("*/*.json")):
        yield read_cell(path)


def remove_cells(out: Path, task: str) -> None:
    """Remove the finished cells of a task, to be measured anew."""
    for path in (out / CELLS / task).glob("*.json"):
        path.unlink()


_OPTIONS = {"limit": "--limit", "train_limit": "--train-limit", "epochs": "--epochs", "precision": "--precision"}
_WORDS = {"data_sha256": "other data", "model_sha256": "another model of this name"}


def require_same_settings(path: Path, found: CellSettings, wanted: CellSettings) -> None:
    """Raise UserError, naming the first setting that is another than the one a finished cell was measured with."""
    for name, ours in asdict(wanted).items():
        theirs = getattr(found, name)
        if theirs == ours:
            continue
        if name in _OPTIONS:
            begun = f"without {_OPTIONS[name]}" if theirs is None else f"with {_OPTIONS[name]} {theirs}"
            now = "none" if ours is None else ours
            raise UserError(f"{path}: was measured {begun}, not {now}; give the same, or another folder with -o")
        raise UserError(f"{path}: was measured with {_WORDS[name]}; give the same, or another folder with -o")


def _without_nan(value: Any) -> Any:
    """The same with None where a number is none."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return value
