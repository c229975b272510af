"""The tasks there are, with what they ask, how they are judged, where their data is from and how much there is."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from openankh.tasks.data_folder import DataFolder
from openankh.tasks.named_tasks import all_tasks
from openankh.tasks.task import Task

_SIZES = Path(__file__).with_name("sizes.toml")


@dataclass(frozen=True)
class TaskLine:
    """One task; `sizes` are proteins by split, of the data that docs/data.md tells of, after repeats are left out.

    `is_here` is whether all its files are in the folder of data, None where none was named.
    """

    task: str
    title: str
    unit: str
    target: str
    metrics: tuple[str, ...]
    sizes: Mapping[str, int]
    residues: int
    files: tuple[str, ...]
    source: str
    is_here: bool | None


def task_lines(data: Path | None = None) -> list[TaskLine]:
    """Every task that comes with the package."""
    folder = None if data is None else DataFolder(data)
    return [_line(task, folder) for task in all_tasks()]


def _line(task: Task, folder: DataFolder | None) -> TaskLine:
    told = dict(_sizes()[task.name])
    residues, num_classes = told.pop("residues"), told.pop("classes", len(task.classes))
    sizes = {name: told[name] for name in sorted(told, key=_order)}
    is_here = None if folder is None else all(folder.has(file) for file in task.files)
    return TaskLine(
        task.name,
        task.title,
        task.unit,
        f"{num_classes:,} {task.target}" if num_classes else task.target,
        task.metrics,
        sizes,
        residues,
        task.files,
        task.citation,
        is_here,
    )


def _order(split: str) -> tuple[bool, bool, str]:
    """Training or lookup first, then validation, then tests."""
    return split.startswith("test"), split == "valid", split


@cache
def _sizes() -> Mapping[str, Mapping[str, int]]:
    return tomllib.loads(_SIZES.read_text(encoding="utf-8"))
