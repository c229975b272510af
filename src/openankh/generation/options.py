"""What a user can choose about completions."""

from dataclasses import dataclass, field
from typing import Literal

from openankh.errors import UserError
from openankh.generation.method import Method
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.stretch import Stretch

Task = Literal["auto", "s2s", "plain", "sentinels"]
TASKS: tuple[Task, ...] = ("auto", "s2s", "plain", "sentinels")

WINDOW = 115
"""Sentinels shown together: as many as Ankh's vocabulary has, less one."""

MOST_RESULTS = 100_000


@dataclass(frozen=True)
class CompletionOptions:
    """How proteins are completed.

    `num`: completions of each protein. `seed`: what is drawn is a function of it, the prompt and the completion's
    number. `task`: `s2s` continues what stands behind the prefix `[S2S]`, `plain` does without a prefix, as models
    without one do that were adapted to a family, `sentinels` writes residues behind sentinels, at most `window` at a
    time, which needs an exact length; auto is s2s where the model has the prefix, else sentinels. `max_rows`: what is
    written at a time. Raises UserError for what makes no sense.
    """

    stretch: Stretch = field(default_factory=Stretch)
    method: Method = field(default_factory=Method)
    rules: ResidueRules = field(default_factory=ResidueRules)
    num: int = 1
    seed: int = 0
    task: Task = "auto"
    window: int = WINDOW
    max_rows: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num <= MOST_RESULTS:
            raise UserError(f"{self.num} completions: give 1 to {MOST_RESULTS:,}")
        if self.num > 1 and self.method.name == "greedy":
            raise UserError("several completions: greedy gives one; choose sample, beam or beam-sample")
        if self.method.has_beams and self.num > self.method.num_beams:
            raise UserError(f"{self.num} completions of {self.method.num_beams} beams: ask for more beams")
        if self.task not in TASKS:
            raise UserError(f"task {self.task!r}: not one of {', '.join(TASKS)}")
        if not -(1 << 63) <= self.seed < 1 << 63:
            raise UserError(f"seed {self.seed}: give a whole number of at most 63 bits")
        if self.window < 1:
            raise UserError(f"window {self.window}: must be at least 1")
        if self.max_rows is not None and self.max_rows < 1:
            raise UserError(f"max rows {self.max_rows}: must be at least 1")
