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

    `num_lines` is what the checkpoint that a run goes on from kept of the property of that name: later lines, and a
    last one cut short by a kill, are removed, for what they tell of happens again. 0 begins an empty journal.
    """

    def __init__(self, run: Path, num_lines: int = 0, curves: Curves | None = None):
        self.path = run / "journal.jsonl"
        self.curves = curves
        kept = self.path.read_bytes().splitlines(keepends=True)[:num_lines] if self.path.exists() else []
        whole = [line for line in kept if _parse(line) is not None]
        write_file_atomically(self.path, b"".join(whole))
        self.num_lines = len(whole)
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
        self.num_lines += 1
        if self.curves is not None:
            drawn = {**values, **(timing or {})}
            self.curves.add(kind, step, {name: value for name, value in drawn.items() if _json(value) == value})

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

    num_lines = 0

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
