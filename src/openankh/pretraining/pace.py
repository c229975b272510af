"""How fast a run gets on: a time budget turned into steps, and the time that is left."""

import time
from collections.abc import Callable

from openankh.pretraining.schedule import StepPlan

CALIBRATION_STEPS = 20
"""Steps timed before a time budget is first turned into a number of steps."""
WARM_UP_STEPS = 5
"""A process's first steps, not timed: they compile kernels and fill caches."""

Now = Callable[[], float]
"""Seconds since some moment."""


class Pace:
    """The step plan in force, and the time that steps take, validations and checkpoints between them included."""

    def __init__(self, plan: StepPlan, step: int, now: Now = time.monotonic):
        self.plan = plan
        self._now = now
        self._is_warm = False
        self._start_timing(step)

    def settle(self, step: int, seconds_left: float, again: bool) -> bool:
        """Turn a time budget into steps, and `again` with newer timings, until the learning rate begins to fall.

        True when the plan is another one: a checkpoint has to keep it before the next step is taken.
        """
        if not self._is_warm and step - self._first_step >= WARM_UP_STEPS:
            self._is_warm = True
            self._start_timing(step)
        if self.plan.is_finished(step) or not self.plan.may_settle(step):
            return False
        is_open = self.plan.total_steps is None
        if not (self._is_due(step, seconds_left) if is_open else again):
            return False
        self.plan = self.plan.settled(step, seconds_left, self.seconds_a_step(step))
        self._start_timing(step)
        return True

    def _is_due(self, step: int, seconds_left: float) -> bool:
        """Whether an open plan has to be settled: enough steps are timed, or no time is left."""
        return (self._is_warm and step - self._first_step >= CALIBRATION_STEPS) or seconds_left <= 0

    def seconds_a_step(self, step: int) -> float:
        """Mean over the steps timed; above 0."""
        return max(self._now() - self._began, 1e-9) / max(1, step - self._first_step)

    def seconds_left(self, step: int) -> float | None:
        """Until the plan ends; None while its end is open."""
        return None if self.plan.total_steps is None else (self.plan.total_steps - step) * self.seconds_a_step(step)

    def _start_timing(self, step: int) -> None:
        self._first_step, self._began = step, self._now()
