"""How the learning rate rises and falls over a run, as values that depend on nothing but the step."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from openankh.errors import UserError

ScheduleName = Literal["linear", "cosine", "wsd", "constant", "inverse-sqrt"]
DecayName = Literal["linear", "sqrt"]
SCHEDULE_NAMES: tuple[ScheduleName, ...] = ("linear", "cosine", "wsd", "constant", "inverse-sqrt")
DECAY_NAMES: tuple[DecayName, ...] = ("linear", "sqrt")


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up to 1, then a named course down to `final_factor`; all places are shares of the run.

    linear        falls in a straight line from the warm-up's end to the run's.
    cosine        falls along half a cosine.
    wsd           stays at 1 until the last `decay_share` of the run, then falls: `decay` "linear" in a straight line,
                  "sqrt" as 1 - sqrt(share of the decay done) (arXiv 2405.18392).
    constant      stays at 1.
    inverse-sqrt  falls as 1 / sqrt(step / warm-up steps), T5's own; `final_factor` is a floor.
    """

    name: ScheduleName = "linear"
    decay_share: float = 0.5
    decay: DecayName = "linear"
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in SCHEDULE_NAMES:
            raise UserError(f"schedule {self.name!r} is unknown: choose one of {', '.join(SCHEDULE_NAMES)}")
        if self.decay not in DECAY_NAMES:
            raise UserError(f"schedule decay {self.decay!r} is unknown: choose one of {', '.join(DECAY_NAMES)}")
        if not 0 < self.decay_share <= 1:
            raise UserError(f"schedule setting decay_share is {self.decay_share}: give a share above 0, at most 1")
        if not 0 <= self.final_factor <= 1:
            raise UserError(f"schedule setting final_factor is {self.final_factor}: give a share from 0 to 1")

    def factor(self, progress: float, warmup_share: float = 0.0) -> float:
        """The factor on the peak learning rate at `progress` (share of the run, 0 to 1)."""
        progress = min(max(progress, 0.0), 1.0)
        if progress < warmup_share:
            return progress / warmup_share
        if self.name == "constant":
            return 1.0
        if self.name == "inverse-sqrt":
            return max(self.final_factor, math.sqrt(warmup_share / progress)) if warmup_share else 1.0
        begin = self.decay_begin(warmup_share)
        done = (progress - begin) / (1 - begin) if progress > begin else 0.0
        return self.final_factor + (1 - self.final_factor) * self._left(done)

    def decay_begin(self, warmup_share: float) -> float:
        """Where the fall begins, as a share of the run."""
        return max(warmup_share, 1 - self.decay_share) if self.name == "wsd" else warmup_share

    def _left(self, done: float) -> float:
        """The height left, 1 to 0, after a share `done` of the fall."""
        if self.name == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.name == "wsd" and self.decay == "sqrt":
            return 1 - math.sqrt(done)
        return 1 - done


@dataclass(frozen=True)
class StepPlan:
    """A schedule laid over a number of steps; `total_steps` None means: not known yet, a time budget is being measured.

    The factor of a step is a function of this value and the step's number alone. The plan is stored with every
    checkpoint, so a resumed run takes the very factors an uninterrupted one would have taken.

    A run planned in minutes begins with an open plan: warm-up, then the peak. That is what the final plan would do too,
    as long as the total is settled before any fall begins. After some steps have been timed, `settled` turns
    the time that is left into a number of steps. From then on the run is counted in steps and exact; a machine that
    slows down afterwards ends later. Before a wsd schedule's fall, `settled` may be called again with newer timings:
    what was taken stays what it was, and when less time is left than the fall needs, the fall is joined half-way.
    Each settled plan has to be stored before its first step is taken.
    """

    schedule: Schedule
    warmup_steps: int
    total_steps: int | None

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise UserError(f"schedule setting warmup_steps is {self.warmup_steps}: give 0 or more")
        if self.total_steps is not None and self.total_steps < 1:
            raise UserError(f"schedule setting total_steps is {self.total_steps}: give at least 1")

    def factor(self, step: int) -> float:
        """The factor of update number `step`, counted from 0, taken at the step's middle, so that none is zero."""
        if self.total_steps is None:
            return min(1.0, (step + 0.5) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.schedule.factor((step + 0.5) / self.total_steps, self.warmup_steps / self.total_steps)

    def is_finished(self, num_steps_done: int) -> bool:
        """True when all steps are done; an open plan never ends by itself."""
        return self.total_steps is not None and num_steps_done >= self.total_steps

    def may_settle(self, num_steps_done: int) -> bool:
        """True while the total may still be chosen without changing a factor already taken."""
        if self.total_steps is None:
            return True
        warmup_share = self.warmup_steps / self.total_steps
        return self.schedule.name == "wsd" and num_steps_done < self.total_steps * self.schedule.decay_begin(
            warmup_share
        )

    def settled(self, num_steps_done: int, seconds_left: float, seconds_a_step: float) -> "StepPlan":
        """The plan that ends when the time does, at the speed measured: at least one more step."""
        assert self.may_settle(num_steps_done), "the learning rate is falling already: the total is fixed"
        return replace(self, total_steps=num_steps_done + max(1, int(seconds_left / seconds_a_step)))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON keeps it, inside a training checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "StepPlan":
        """The plan that `to_json` wrote."""
        return cls(Schedule(**fields["schedule"]), fields["warmup_steps"], fields["total_steps"])
