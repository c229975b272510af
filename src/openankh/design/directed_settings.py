"""What is decided about directed design: how mutants are searched, and how many changes they may have."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from openankh.errors import UserError

Search = Literal["greedy", "beam", "metropolis"]


@dataclass(frozen=True)
class DirectedSettings:
    """How mutants of at most `budget` substitutions are searched for; the `num` best of all that were judged are kept.

    `greedy` takes the best change again and again, as long as one helps; `beam` goes on from the `beams` best mutants
    at once. `metropolis` walks in `chains` chains of `steps` steps: a change that lowers the score by d is taken with
    probability exp(-d / `temperature`). Of all single changes the `candidates` that masked-marginal prefers may be used
    (0: all).
    """

    search: Search = "greedy"
    budget: int = 3
    num: int = 20
    beams: int = 10
    chains: int = 4
    steps: int = 500
    temperature: float = 1.0
    candidates: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.search not in get_args(Search):
            raise UserError(f"--search {self.search}: not one of {', '.join(get_args(Search))}")
        if self.budget < 1:
            raise UserError(f"--budget {self.budget}: a mutant has at least 1 substitution")
        for name in ("num", "beams", "chains", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 1")
        for name in ("candidates", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 0")
        if not 0 < self.temperature < math.inf:
            raise UserError(f"--temperature {self.temperature:g}: give a number above 0, in the unit of the score")

    def __str__(self) -> str:
        """Short, for provenance."""
        words = {
            "greedy": "greedy",
            "beam": f"beam{self.beams}",
            "metropolis": f"metropolis,chains={self.chains},steps={self.steps},t={self.temperature:g}",
        }
        return f"{words[self.search]},budget={self.budget}"
