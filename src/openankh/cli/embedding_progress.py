"""What an embedding will do and how far it is: notes before it begins, a bar on a terminal, else lines at times."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from openankh.cli import report

if TYPE_CHECKING:
    from openankh.embedding.run import EmbedSummary, Plan
    from openankh.embedding.survey import Survey

OnProgress = Callable[[int, int], None]
OnBegin = Callable[["Plan"], None]

_FIRST_LINE, _MOST_BETWEEN = 10.0, 600.0
"""Seconds until the first line where no bar can be drawn, and between later ones, which come ever more rarely."""


def plan_notes(source: str, output: str, plan: "Plan") -> Iterator[str]:
    """What is to be done: proteins, repeats, bytes to write and free, and what an earlier run has left."""
    if plan.survey is None:
        yield f"{source}: a stream, so neither its size nor the time can be told, nor can it be continued when stopped"
    else:
        survey = plan.survey
        yield (
            f"{source}: {survey.num_records:,} proteins, {survey.num_residues:,} residues, "
            f"the longest {survey.longest:,}{_repeats(plan)}"
        )
    if plan.num_bytes is not None:
        free = "" if plan.free_bytes is None else f", {size(plan.free_bytes)} free"
        yield f"{output}: {size(plan.num_bytes)} to be written{free}"
    if plan.records_kept:
        yield f"{output}: {plan.records_kept:,} proteins are there already; going on after them"


def _repeats(plan: "Plan") -> str:
    repeats = plan.repeats
    if repeats is None or not repeats.num_records:
        return ""
    have = "has the sequence of another and is" if repeats.num_records == 1 else "have the sequence of another and are"
    return f"; {repeats.num_records:,} {have} not computed again"


class Pace:
    """Shows how far a run is and how long it will take, once that can be told.

    `num_residues` are those of the whole input, None where that is not known. `seconds_expected` is the first estimate
    of the whole run, None while there is none.
    """

    def __init__(self, bar: report.Bar, num_residues: int | None, quiet: bool) -> None:
        self._bar = bar
        self._num_residues = num_residues
        self._has_lines = not (quiet or sys.stderr.isatty())
        self._began: tuple[float, int] | None = None
        self._next_line = _FIRST_LINE
        self.seconds_expected: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything has been shown."""
        return self._began is not None

    def show(self, num_records: int, num_residues: int) -> None:
        """So many proteins and residues are done, those of an earlier run included: the first call tells these."""
        now = time.perf_counter()
        if self._began is None:
            self._began = now, num_residues
        seconds, done = now - self._began[0], num_residues - self._began[1]
        if not done:
            self._bar.reach(num_residues)
            return
        rate = done / max(seconds, 1e-9)
        note = f"{num_records:,} proteins, {rate:,.0f} residues/s"
        self._bar.reach(num_residues, note=note)
        to_go = None if self._num_residues is None else (self._num_residues - num_residues) / rate
        if to_go is not None and self.seconds_expected is None:
            self.seconds_expected = seconds + to_go
        if self._has_lines and seconds >= self._next_line:
            self._next_line = seconds + min(seconds, _MOST_BETWEEN)
            report.note(note if to_go is None else f"{note}, {duration(to_go)} to go")


class Labour(Protocol):
    """What embeds: this process, or many workers."""

    def embed(self, on_progress: OnProgress, on_begin: OnBegin) -> "EmbedSummary":
        """Embed the whole input, telling what is to be done and how far it is."""
        ...

    def what_is_safe(self) -> str:
        """What is there of a run that was stopped, and how to go on."""
        ...


@dataclass
class ToldRun:
    """An embedding that is told as it goes; `facts` are those of its plan."""

    source: str
    output: str
    survey: "Survey | None"
    quiet: bool
    facts: dict[str, Any] = field(default_factory=dict)

    def embed(self, labour: "Labour") -> "EmbedSummary":
        """Have it done; when it is stopped, say what is safe and how to go on."""
        total = self.survey.num_residues if self.survey else None
        with report.progress("embedding", total, unit="residues", quiet=self.quiet) as bar:
            pace = Pace(bar, total, self.quiet)
            try:
                return labour.embed(pace.show, self._tell_plan)
            except BaseException:
                if pace.has_begun:
                    report.note(labour.what_is_safe(), quiet=self.quiet)
                raise
            finally:
                self.facts["seconds_expected"] = pace.seconds_expected and round(pace.seconds_expected, 3)

    def _tell_plan(self, plan: "Plan") -> None:
        for text in plan_notes(self.source, self.output, plan):
            report.note(text, quiet=self.quiet)
        repeats = plan.repeats
        self.facts |= {
            "bytes_to_write": plan.num_bytes,
            "bytes_free": plan.free_bytes,
            "records_repeated": repeats.num_records if repeats else None,
        }


def size(num_bytes: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def duration(seconds: float) -> str:
    """A time as people read it, to about a hundredth."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
