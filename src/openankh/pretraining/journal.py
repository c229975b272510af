"""The journal of a run: one JSON object a line, which after a resumption reads as if the run had never stopped."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.pretraining.tensorboard import Curves

Value = float | int | str | bool | None


class Journal:
    """Appends to RUN/journal.jsonl, and to TensorBoard's files where that is wanted.

    `resumed_step` is the step of the checkpoint a run goes on from: lines of later steps, and a last line cut short by
    a kill, are removed, for those steps are taken again. None begins an empty journal. So write all lines of a step
    before its checkpoint, but for those of a kind that is still to come: `without` removes that kind's of that step.
    """

    def __init__(
        self, run: Path, resumed_step: int | None = None, curves: Curves | None = None, without: str | None = None
    ):
        self.path = run / "journal.jsonl"
        self.curves = curves
        if resumed_step is None:
            write_file_atomically(self.path, b"")
        else:
            _cut_after(self.path, resumed_step, without)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  (closed by `close`)

    def write(
        self, kind: str, step: int, values: Mapping[str, Value], timing: Mapping[str, Value] | None = None
    ) -> None:
        """Append one line, `{"kind", "step", values…, "timing": {…}}`, and hand it to the system at once.

        `values` are those that the same run gives again bit by bit; what depends on the clock goes under `timing`.
        """
        line: dict[str, Any] = {"kind": kind, "step": step, **{name: _json(value) for name, value in values.items()}}
        if timing:
            line["timing"] = {name: _json(value) for name, value in timing.items()}
        try:
            self._append(json.dumps(line, allow_nan=False).encode() + b"\n")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"cannot write {self.path}: {reason}; free some space, then resume the run") from error
        if self.curves is not None:
            self.curves.add(kind, step, {**values, **(timing or {})})

    def _append(self, line: bytes) -> None:
        if self._file.write(line) != len(line):  # a disk that fills up takes a part without complaint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Make what was written survive a power cut; call it before a checkpoint of the same step."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the journal and the curves."""
        self._file.close()
        if self.curves is not None:
            self.curves.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NoJournal:
    """Keeps nothing: of several ranks only the first one writes."""

    def write(
        self, kind: str, step: int, values: Mapping[str, Value], timing: Mapping[str, Value] | None = None
    ) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_journal(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's journal, oldest first."""
    path = run / "journal.jsonl"
    entries = (_parse(line) for line in path.read_bytes().splitlines(keepends=True))
    return [entry for entry in entries if entry is not None]


def _cut_after(path: Path, step: int, without: str | None) -> None:
    """Keep the whole lines up to a step, byte by byte; a journal that is missing begins empty."""

    def is_kept(entry: dict[str, Any] | None) -> bool:
        return entry is not None and (entry["step"] < step or (entry["step"] == step and entry.get("kind") != without))

    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    write_file_atomically(path, b"".join(line for line in lines if is_kept(_parse(line))))


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line's object; None for what is not a whole line of a journal."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


def _json(value: Value) -> Value:
    """JSON has no NaN and no infinity: they become text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
