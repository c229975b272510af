"""A run's numbers as TensorBoard curves, through tensorboardX where it is installed."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

_UNFIT = re.compile(r"[^-\w.]")
"""What a curve's name cannot hold."""


class Curves(Protocol):
    """Where a journal's numbers go beside its own file."""

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class TensorBoardCurves:
    """Curves named `kind/value`, or `kind/objective/value`, in a folder that `tensorboard --logdir` shows."""

    def __init__(self, writer: Any):
        self._writer = writer

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add the numbers among the values; other texts and flags are left to the journal."""
        for name, value in curves_of(kind, values):
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held."""
        self._writer.close()


def curves_of(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers among the values, those inside others too, by the names of their curves."""
    if objective := values.get("objective"):
        kind = f"{kind}/{_UNFIT.sub('_', str(objective))}"
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from curves_of(f"{kind}/{_UNFIT.sub('_', name)}", {_UNFIT.sub("_", key): value[key] for key in value})
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{kind}/{name}", value


def open_tensorboard(run: Path, resumed_step: int | None, say: Callable[[str], None]) -> TensorBoardCurves | None:
    """Curves under RUN/tensorboard; None, after saying why, when tensorboardX is not installed.

    After a resumption TensorBoard hides what the earlier process wrote for later steps.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        say('no TensorBoard curves: tensorboardX is not installed (pip install "openankh[train]"); the journal has all')
        return None
    purge_step = None if resumed_step is None else resumed_step + 1
    return TensorBoardCurves(SummaryWriter(str(run / "tensorboard"), purge_step=purge_step))
