"""What a run does about a step that would spoil it: a loss or gradient that is not finite, a loss that jumps up.

Every rank judges the same numbers and remembers the same losses, so all of them decide alike.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, get_args

from openankh.errors import UserError

NotFinitePolicy = Literal["stop", "skip", "roll-back"]
SpikePolicy = Literal["tell", "stop", "skip", "roll-back"]
Kind = Literal["not finite", "spike"]

DEVIATION = 1.4826
"""Of a normal distribution: its standard deviation over its median absolute deviation."""
LEAST_DEVIATION = 0.01
"""A spread narrower than this share of the usual loss is chance."""
LEAST_REMEMBERED = 50
"""Losses that must be known before one can be called unusual."""


@dataclass(frozen=True)
class StabilitySettings:
    """What is done about a step whose loss or gradient is not finite, or whose loss is a spike.

    In either case the weights are untouched when it is noticed. "stop" ends the run with one line. "skip" leaves the
    step's proteins out and takes the step with the next ones; more than `patience` in a row are no accident of the
    data, and it rolls back. "roll-back" goes on from the newest checkpoint with the data behind the step; it stops
    where there is none, or when that was done `most_roll_backs` times. "tell", for spikes alone, takes the step and
    says so.

    The loss of a step is a spike when it exceeds the median of the last `window` by `deviations` robust standard
    deviations (and so by a tenth at least).

    Defaults: a NaN that one batch causes costs nothing when that batch is left out, and a network that has become
    unable to compute is caught by `patience`; gradients are clipped, so most spikes heal by themselves, and leaving
    hard proteins out would bend the data.
    """

    not_finite: NotFinitePolicy = "skip"
    spike: SpikePolicy = "tell"
    window: int = 200
    deviations: float = 10.0
    patience: int = 10
    most_roll_backs: int = 3

    def __post_init__(self) -> None:
        for name, legal in (("not_finite", get_args(NotFinitePolicy)), ("spike", get_args(SpikePolicy))):
            if getattr(self, name) not in legal:
                raise UserError(f"stability.{name} is {getattr(self, name)!r}, but must be one of {', '.join(legal)}")
        for name, least in (("window", LEAST_REMEMBERED), ("patience", 0), ("most_roll_backs", 0)):
            if getattr(self, name) < least:
                raise UserError(f"stability.{name} is {getattr(self, name)}, but must be at least {least}")
        if not 0 < self.deviations < math.inf:
            raise UserError(f"stability.deviations is {self.deviations}: give a number above 0")

    def policy(self, kind: Kind) -> SpikePolicy:
        """What is done about a step of this kind at first."""
        return self.not_finite if kind == "not finite" else self.spike


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a step; `usual` is the loss it is held against, None where that does not matter."""

    kind: Kind
    loss: float
    gradient_norm: float
    usual: float | None = None

    def __str__(self) -> str:
        beside = "" if self.usual is None else f" (usually {self.usual:.4g})"
        return f"loss {self.loss:.4g}{beside}, gradient norm {self.gradient_norm:.4g}"


def not_finite(loss: float, gradient_norm: float) -> Trouble | None:
    """The trouble of a loss or gradient that is NaN or infinite."""
    if math.isfinite(loss) and math.isfinite(gradient_norm):
        return None
    return Trouble("not finite", loss, gradient_norm)


class Guard:
    """Remembers the recent losses, finds trouble, and decides what is done about it."""

    def __init__(self, settings: StabilitySettings):
        self.settings = settings
        self.num_in_a_row = 0
        self.num_roll_backs = 0
        self._losses: deque[float] = deque(maxlen=settings.window)

    def trouble(self, loss: float, gradient_norm: float) -> Trouble | None:
        """What is wrong with a step that would be taken now."""
        return not_finite(loss, gradient_norm) or self._spike(loss, gradient_norm)

    def refused(self, loss: float, gradient_norm: float) -> Trouble | None:
        """The trouble for which a step must not be taken."""
        trouble = self.trouble(loss, gradient_norm)
        return trouble if trouble and self.settings.policy(trouble.kind) != "tell" else None

    def taken(self, loss: float) -> None:
        """Remember a step that was taken."""
        self.num_in_a_row = 0
        self._losses.append(loss)

    def decide(self, trouble: Trouble, has_checkpoint: bool) -> Literal["stop", "skip", "roll-back"]:
        """What is done about a refused step."""
        wanted = self.settings.policy(trouble.kind)
        self.num_in_a_row += 1
        if wanted == "skip" and self.num_in_a_row <= self.settings.patience:
            return "skip"
        if wanted == "stop" or not has_checkpoint or self.num_roll_backs >= self.settings.most_roll_backs:
            return "stop"
        self.num_roll_backs += 1
        return "roll-back"

    def rolled_back(self, facts: Mapping[str, Any] | None) -> None:
        """Remember what was known at the checkpoint, but not fewer roll-backs."""
        num_roll_backs = self.num_roll_backs
        self.restore(facts)
        self.num_roll_backs = num_roll_backs

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "losses": list(self._losses),
            "num_in_a_row": self.num_in_a_row,
            "num_roll_backs": self.num_roll_backs,
        }

    def restore(self, facts: Mapping[str, Any] | None) -> None:
        """Go on from what a checkpoint kept; one of an earlier version kept nothing."""
        facts = facts or {"losses": [], "num_in_a_row": 0, "num_roll_backs": 0}
        self._losses = deque(facts["losses"], maxlen=self.settings.window)
        self.num_in_a_row, self.num_roll_backs = facts["num_in_a_row"], facts["num_roll_backs"]

    def _spike(self, loss: float, gradient_norm: float) -> Trouble | None:
        if len(self._losses) < LEAST_REMEMBERED:
            return None
        usual = median(self._losses)
        spread = DEVIATION * median(abs(each - usual) for each in self._losses)
        spread = max(spread, LEAST_DEVIATION * abs(usual))
        is_spike = loss > usual + self.settings.deviations * spread
        return Trouble("spike", loss, gradient_norm, usual) if is_spike else None
