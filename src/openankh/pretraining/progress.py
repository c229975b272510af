"""What a person sees of a training run, on standard error."""

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

_MEMORY = 0.98
"""What a step counts among the recent ones beside the step after it: about 50 count."""


@dataclass(frozen=True)
class Report:
    """How a run stands after `step` updates; `loss` in nats a hidden residue, `utilisation` a share of the peak.

    `task_losses` are those of a mixture's objectives by name.
    """

    step: int
    loss: float
    tokens_a_second: float
    utilisation: float | None = None
    seconds_left: float | None = None
    task_losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that overflows."""
        return math.inf if self.loss > 700 else math.exp(self.loss)

    def __str__(self) -> str:
        of_tasks = ", ".join(f"{name} {loss:.3f}" for name, loss in self.task_losses.items())
        parts = [
            f"loss {self.loss:.4f}" + (f" ({of_tasks})" if of_tasks else ""),
            f"perplexity {self.perplexity:.2f}",
            f"{self.tokens_a_second:,.0f} tokens/s",
        ]
        if self.utilisation is not None:
            parts.append(f"MFU {self.utilisation:.1%}")
        if self.seconds_left is not None:
            parts.append(f"{timedelta(seconds=round(self.seconds_left))} left")
        return " · ".join(parts)


@dataclass(frozen=True)
class Recent:
    """Sums over the recent steps, older ones fading: single steps jump too much to be read."""

    steps: float = 0.0
    losses: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    tasks: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def plus(
        self, loss: float, tokens: int, flops: int, seconds: float, task_losses: Mapping[str, float] | None = None
    ) -> "Recent":
        """With one step more; of a mixture with the losses of the objectives it had proteins of."""
        losses = task_losses or {}
        faded = {name: (total * _MEMORY, count * _MEMORY) for name, (total, count) in self.tasks.items()}
        totals = {name: faded.get(name, (0.0, 0.0)) for name in [*faded, *(new for new in losses if new not in faded)]}
        tasks = {
            name: (total + losses.get(name, 0.0), count + (name in losses)) for name, (total, count) in totals.items()
        }
        return Recent(
            self.steps * _MEMORY + 1,
            self.losses * _MEMORY + loss,
            self.tokens * _MEMORY + tokens,
            self.flops * _MEMORY + flops,
            self.seconds * _MEMORY + seconds,
            tasks,
        )

    @property
    def loss(self) -> float:
        """Mean loss of a step."""
        return self.losses / self.steps

    @property
    def task_losses(self) -> dict[str, float]:
        """Mean loss of each objective of a mixture over the steps that had it."""
        return {name: total / count for name, (total, count) in self.tasks.items()}

    @property
    def tokens_a_second(self) -> float:
        """Tokens read in a second of stepping."""
        return self.tokens / self.seconds

    @property
    def flops_a_second(self) -> float:
        """Operations in a second of stepping."""
        return self.flops / self.seconds


class Progress(Protocol):
    """Where a run shows itself; `total_steps` None is a run whose end is not known yet."""

    total_steps: int | None

    def show(self, report: Report) -> None: ...

    def say(self, line: str) -> None: ...


class SilentProgress:
    """Shows nothing: of several ranks only the first one talks."""

    total_steps: int | None = None

    def show(self, report: Report) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class PlainProgress:
    """A line now and then, by nothing but Python itself."""

    def __init__(self, total_steps: int | None = None, seconds_between_lines: float = 30.0):
        self.total_steps = total_steps
        self.seconds_between_lines = seconds_between_lines
        self._next_line = 0.0

    def show(self, report: Report) -> None:
        """Show a report, unless the last one was shown a moment ago."""
        if time.monotonic() >= self._next_line or report.step == self.total_steps:
            self._next_line = time.monotonic() + self.seconds_between_lines
            total = f"/{self.total_steps}" if self.total_steps else ""
            self.say(f"step {report.step}{total} · {report}")

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=sys.stderr, flush=True)


class TrainingProgress(PlainProgress):
    """A bar with the newest report; where standard error is no terminal, a line now and then."""

    def __init__(
        self,
        total_steps: int | None,
        first_step: int = 0,
        console: "Console | None" = None,
        seconds_between_lines: float = 30.0,
    ):
        # Imported here, so that a machine without rich can train.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(total_steps, seconds_between_lines)
        self.console = console or Console(stderr=True)
        self._bar = Bars(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total_steps, completed=first_step)

    def show(self, report: Report) -> None:
        """Show a report; between lines on a file it is passed over."""
        if self.console.is_terminal:
            self._bar.update(self._task, completed=report.step, total=self.total_steps, description=str(report))
        else:
            super().show(report)

    def say(self, line: str) -> None:
        """Print one line above the bar, as it is."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
