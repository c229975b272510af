"""What a person at the terminal sees of a training run, on standard error."""

import math
import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@dataclass(frozen=True)
class Report:
    """How a run stands after `step` updates; `loss` in nats a token, `utilisation` a share of the machine's peak."""

    step: int
    loss: float
    tokens_a_second: float
    utilisation: float | None = None
    seconds_left: float | None = None

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that overflows."""
        return math.inf if self.loss > 700 else math.exp(self.loss)

    def __str__(self) -> str:
        parts = [
            f"loss {self.loss:.4f}",
            f"perplexity {self.perplexity:.2f}",
            f"{self.tokens_a_second:,.0f} tokens/s",
        ]
        if self.utilisation is not None:
            parts.append(f"MFU {self.utilisation:.1%}")
        if self.seconds_left is not None:
            parts.append(f"{timedelta(seconds=round(self.seconds_left))} left")
        return " · ".join(parts)


class TrainingProgress:
    """A bar with the newest report; where standard error is no terminal, a line now and then.

    `total_steps` None is a run whose end is not known yet.
    """

    def __init__(
        self,
        total_steps: int | None,
        first_step: int = 0,
        console: Console | None = None,
        seconds_between_lines: float = 30.0,
    ):
        self.console = console or Console(stderr=True)
        self.total_steps = total_steps
        self.seconds_between_lines = seconds_between_lines
        self._next_line = 0.0
        self._bar = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total_steps, completed=first_step)

    def show(self, report: Report) -> None:
        """Show a report; between lines on a file it is passed over."""
        if self.console.is_terminal:
            self._bar.update(self._task, completed=report.step, total=self.total_steps, description=str(report))
        elif time.monotonic() >= self._next_line or report.step == self.total_steps:
            self._next_line = time.monotonic() + self.seconds_between_lines
            total = f"/{self.total_steps}" if self.total_steps else ""
            self.say(f"step {report.step}{total} · {report}")

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
