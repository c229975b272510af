"""RUN/run.json: what a run was begun with, and the check that it is resumed with the same."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from openankh import __version__
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.pretraining.recipes import Recipe, differences, to_json

NAME = "run.json"
FORMAT, VERSION = "openankh-run", 1
_OTHERS = ("journal.jsonl", "checkpoints", "best", "tensorboard")


@dataclass(frozen=True)
class RunRecord:
    """What a run is decided by, `minutes` being its time budget, and where it was begun.

    `init` tells of the model whose weights it began with (see `InitialModel`); None where they were drawn.
    """

    recipe: Mapping[str, Any]
    corpus_fingerprint: str
    minutes: float | None
    code_version: str = __version__
    environment: Mapping[str, Any] = field(default_factory=lambda: environment())
    init: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        corpus_fingerprint: str,
        minutes: float | None,
        init: Mapping[str, Any] | None = None,
    ) -> "RunRecord":
        """The record of a run begun here and now."""
        return cls(to_json(recipe), corpus_fingerprint, minutes, init=init)


def environment() -> dict[str, Any]:
    """What may change the last bits of a result."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def require_no_run(run: Path) -> None:
    """Raise UserError where a new run would write over something."""
    if (run / NAME).exists():
        raise UserError(f"{run}: holds a run already; go on with --resume, or choose another folder with --out")
    if found := [name for name in _OTHERS if (run / name).exists()]:
        raise UserError(f"{run}: holds {found[0]!r}, which is of no run; choose an empty or new folder with --out")


def begin_record(run: Path, record: RunRecord) -> None:
    """Write the record of a new run; UserError where there is one."""
    require_no_run(run)
    content = {"format": FORMAT, "version": VERSION, **asdict(record)}
    write_file_atomically(run / NAME, json.dumps(content, indent=2) + "\n")


def read_record(run: Path) -> RunRecord:
    """The record of a run; UserError when there is none, or it is damaged."""
    if not (run / NAME).exists():
        raise UserError(f"{run}: no run to resume here ({NAME} is missing); start it without --resume")
    content = read_json_object(run / NAME)
    if content.pop("format", None) != FORMAT:
        raise UserError(f"{run / NAME}: not a record of openankh pretrain")
    if (version := content.pop("version", None)) != VERSION:
        raise UserError(f"{run / NAME}: its version is {version!r}, this program reads {VERSION}")
    try:
        return RunRecord(**content)
    except TypeError:
        raise UserError(f"{run / NAME}: damaged, the run cannot be resumed; begin anew in another folder") from None


def check_record(run: Path, recipe: Recipe, corpus_fingerprint: str, minutes: float | None) -> RunRecord:
    """The record of a run to be resumed; UserError, naming the setting, when it was begun with another.

    `minutes` None goes with any time budget.
    """
    record = read_record(run)
    if (theirs := record.recipe.get("name")) != recipe.name:
        raise UserError(f"{run}: was begun with recipe {theirs!r}, not {recipe.name!r}; resume with the same recipe")
    if changed := differences(to_json(recipe), record.recipe):
        raise UserError(f"{run}: was begun with another {', '.join(changed[:3])}; resume with the same settings")
    if record.corpus_fingerprint != corpus_fingerprint:
        raise UserError(f"{run}: was begun on another corpus; resume with the one it was begun on")
    if minutes is not None and minutes != record.minutes:
        begun = "without --minutes" if record.minutes is None else f"with --minutes {record.minutes:g}"
        raise UserError(f"{run}: was begun {begun}, not --minutes {minutes:g}; resume with the same")
    return record


def changed_environment(record: RunRecord) -> str | None:
    """What is different here from where the run was begun, in one line; None when nothing is."""
    pairs = [(name, theirs, environment().get(name)) for name, theirs in record.environment.items()]
    changed = [f"{name} {theirs} then, {ours} now" for name, theirs, ours in pairs if ours != theirs]
    return f"the last bits of all numbers may differ: {'; '.join(changed)}" if changed else None
