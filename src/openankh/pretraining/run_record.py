"""RUN/run.json: what a run was begun with, and the check that it is resumed with the same."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy
import torch

from openankh import __version__
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.pretraining.recipes import Recipe, differences, to_json

NAME = "run.json"


def begin_record(run: Path, recipe: Recipe, corpus_fingerprint: str, minutes: float | None) -> None:
    """Write the record of a new run; UserError when the folder already holds one."""
    if (run / NAME).exists():
        raise UserError(f"{run}: holds a run already; go on with --resume, or choose another folder with --out")
    record = {
        "format": "openankh-run",
        "version": 1,
        "recipe": to_json(recipe),
        "corpus_fingerprint": corpus_fingerprint,
        "minutes": minutes,
        "code_version": __version__,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }
    write_file_atomically(run / NAME, (json.dumps(record, indent=2) + "\n").encode())


def read_record(run: Path) -> dict[str, Any]:
    """The record of a run; UserError when there is none."""
    try:
        record = json.loads((run / NAME).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{run}: no run to resume here ({NAME} is missing); start it without --resume") from None
    except ValueError:
        raise UserError(f"{run / NAME}: not readable as JSON; the run cannot be resumed") from None
    if not isinstance(record, dict) or record.get("format") != "openankh-run":
        raise UserError(f"{run / NAME}: not a record of openankh pretrain")
    return record


def check_record(run: Path, recipe: Recipe, corpus_fingerprint: str) -> dict[str, Any]:
    """Refuse, naming the setting, to resume a run with another recipe or corpus; returns the record."""
    record = read_record(run)
    if changed := differences(to_json(recipe), record["recipe"]):
        raise UserError(f"{run}: was begun with another {', '.join(changed[:3])}; resume with the same settings")
    if record["corpus_fingerprint"] != corpus_fingerprint:
        raise UserError(f"{run}: was begun on another corpus; resume with the one it was begun on")
    return record
