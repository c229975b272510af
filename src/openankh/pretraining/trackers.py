"""A run's numbers in an experiment tracker, trackio or Weights & Biases, beside its journal and curves."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from openankh.errors import UserError
from openankh.pretraining.tensorboard import curves_of

Tracker = Literal["trackio", "wandb"]
PROJECT = "openankh"


class TrackedCurves:
    """Curves under the names that TensorBoard has, in a run of a tracker."""

    def __init__(self, tracker: ModuleType):
        self._tracker = tracker

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Log the numbers among the values."""
        if numbers := dict(curves_of(kind, values)):
            self._tracker.log(numbers, step=step)

    def close(self) -> None:
        """Let the tracker send or write what it still holds."""
        self._tracker.finish()


def require_tracker(name: Tracker) -> ModuleType:
    """The tracker's module; UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'--log {name}: {name} is not installed; pip install "openankh[{name}]"') from None


def open_tracker(name: Tracker, run: Path, identity: str, config: Mapping[str, Any]) -> TrackedCurves:
    """Curves in the project `openankh`, in the tracker's run of the same name as the folder, which is gone on with.

    `identity` tells the run apart from others of that name. What the tracker itself is told by its environment
    variables holds (`WANDB_MODE=offline`, `TRACKIO_SPACE_ID`). Raises UserError where it cannot begin.
    """
    tracker = require_tracker(name)
    short = f"{run.absolute().name}-{identity[:8]}"
    options: dict[str, Any] = {"project": PROJECT, "name": short, "config": dict(config), "resume": "allow"}
    if name == "wandb":
        options |= {"id": identity[:32], "dir": str(run)}
    try:
        tracker.init(**options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--log {name}: it cannot begin ({reason}); mend that, or leave --log out") from error
    return TrackedCurves(tracker)
