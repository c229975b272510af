"""RUN/run.json: what a run was begun with, and the check that it is resumed with the same."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

from openankh import __version__
from openankh.corpus_manifest import Manifest
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.pretraining.code_version import code_version
from openankh.pretraining.recipes import Recipe, differences, to_json

NAME = "run.json"
FORMAT, VERSION = "openankh-run", 1
_OTHERS = ("journal.jsonl", "checkpoints", "best", "tensorboard")


@dataclass(frozen=True)
class RunRecord:
    """What a run is decided by, `minutes` being its time budget, and where it was begun.

    `init` tells of the model whose weights it began with (see `InitialModel`); None where they were drawn. `corpus`
    tells of the proteins in the folder whose fingerprint stands beside it, and of the files they were read from;
    `code` and `begun` of the program and of when and where. Records of earlier versions lack these.
    """

    recipe: Mapping[str, Any]
    corpus_fingerprint: str
    minutes: float | None
    code_version: str = __version__
    environment: Mapping[str, Any] = field(default_factory=lambda: environment())
    init: Mapping[str, Any] | None = None
    corpus: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    begun: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        corpus: Path,
        manifest: Manifest,
        minutes: float | None,
        init: Mapping[str, Any] | None = None,
        device: str = "cpu",
        num_ranks: int = 1,
    ) -> "RunRecord":
        """The record of a run begun here and now."""
        return cls(
            to_json(recipe),
            manifest.fingerprint,
            minutes,
            environment=environment(device, num_ranks),
            init=init,
            corpus=corpus_facts(corpus, manifest),
            code=code_version(),
            begun={"at": datetime.now(UTC).isoformat(timespec="microseconds"), "host": platform.node()},
        )


def environment(device: str = "cpu", num_ranks: int = 1) -> dict[str, Any]:
    """What may change the last bits of a result."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "ranks": num_ranks,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def corpus_facts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """What is told of a corpus: the folder, the counts of its splits, the files it was made of with their hashes."""
    return {
        "folder": str(folder.absolute()),
        "splits": {
            name: {"proteins": split.num_proteins, "residues": split.num_residues, "longest": split.longest}
            for name, split in manifest.splits.items()
        },
        "sources": [{"name": source.name, "sha256": source.sha256} for source in manifest.sources],
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

    `minutes` None goes with any time budget, other `stability` settings with any run.
    """
    record = read_record(run)
    if (theirs := record.recipe.get("name")) != recipe.name:
        raise UserError(f"{run}: was begun with recipe {theirs!r}, not {recipe.name!r}; resume with the same recipe")
    # What is done about trouble may be changed: a run that stopped by it could not go on otherwise.
    if changed := [key for key in _changed_settings(recipe, record) if key.split(".")[0] != "stability"]:
        raise UserError(f"{run}: was begun with another {', '.join(changed[:3])}; resume with the same settings")
    if record.corpus_fingerprint != corpus_fingerprint:
        raise UserError(f"{run}: was begun on another corpus; resume with the one it was begun on")
    if minutes is not None and minutes != record.minutes:
        begun = "without --minutes" if record.minutes is None else f"with --minutes {record.minutes:g}"
        raise UserError(f"{run}: was begun {begun}, not --minutes {minutes:g}; resume with the same")
    return record


def _changed_settings(recipe: Recipe, record: RunRecord) -> list[str]:
    """The keys in which a recipe is not the record's; what the record is too old to know of may be as by default."""
    ours, default = to_json(recipe), to_json(Recipe(recipe.name, recipe.model))
    changed = differences(ours, record.recipe)
    return [key for key in changed if _at(record.recipe, key) is not None or _at(ours, key) != _at(default, key)]


def _at(value: Any, key: str) -> Any:
    """What a dotted key leads to, None where it leads nowhere."""
    for name in key.split("."):
        if isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def check_code(run: Path, record: RunRecord) -> None:
    """Raise UserError when the program is not the one that the run was begun with, as far as the record tells."""
    ours, theirs = code_version(), record.code.get("sha256")
    if theirs is None or theirs == ours["sha256"]:
        return
    version = record.code.get("version")
    which = (
        f"version {version}, this is {ours['version']}" if version != ours["version"] else "the same version, edited"
    )
    raise UserError(
        f"{run}: the code has changed since the run began ({which}), so what follows may differ; go on with the code "
        "it was begun with, or accept that with --changed-code tell"
    )


def changed_environment(record: RunRecord, device: str = "cpu", num_ranks: int = 1) -> str | None:
    """What is different here from where the run was begun, in one line; None when nothing is."""
    here = environment(device, num_ranks)
    pairs = [(name, theirs, here.get(name)) for name, theirs in record.environment.items()]
    changed = [f"{name} {theirs} then, {ours} now" for name, theirs, ours in pairs if ours != theirs]
    return f"the last bits of all numbers may differ: {'; '.join(changed)}" if changed else None
