"""How tokens are chosen: the best, drawn ones, or the best of several hypotheses followed at once."""

import math
from dataclasses import dataclass
from typing import Literal

from openankh.errors import UserError

Name = Literal["greedy", "sample", "beam", "beam-sample"]
NAMES: tuple[Name, ...] = ("greedy", "sample", "beam", "beam-sample")
MOST_BEAMS = 256


@dataclass(frozen=True)
class Method:
    """`greedy` takes the likeliest token, `sample` draws one, `beam` follows the `num_beams` likeliest hypotheses, and
    `beam-sample` hypotheses drawn without replacement.

    Probabilities are warped in this order: `temperature` (that of the Ankh paper: softmax(logits / t), normalised
    before hypotheses add up), the `top_k` likeliest tokens alone (0: all), the likeliest that reach `top_p` together.
    `greedy` is not touched by any. A finished hypothesis of n tokens is worth its log-probability / n **
    `length_penalty`; with `stop_early` a search ends when `num_beams` are finished, else when no better one can come.
    Raises UserError for numbers that make no sense.
    """

    name: Name = "greedy"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 10
    length_penalty: float = 1.0
    stop_early: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"method {self.name!r}: not one of {', '.join(NAMES)}")
        if not 0.01 <= self.temperature <= 100:
            raise UserError(f"temperature {self.temperature}: must lie between 0.01 and 100; 1 changes nothing")
        if self.top_k < 0:
            raise UserError(f"top-k {self.top_k}: give the number of tokens to choose among, or 0 for all")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p {self.top_p}: must lie above 0 and be at most 1")
        if not 1 <= self.num_beams <= MOST_BEAMS:
            raise UserError(f"{self.num_beams} beams: give 1 to {MOST_BEAMS}")
        if not math.isfinite(self.length_penalty):
            raise UserError(f"length penalty {self.length_penalty}: give a number, such as 1")

    @property
    def is_drawn(self) -> bool:
        """Whether chance plays a part."""
        return self.name in ("sample", "beam-sample")

    @property
    def is_warped(self) -> bool:
        """Whether tokens are chosen by other probabilities than the model's."""
        return self.name != "greedy" and (self.temperature != 1 or self.top_k > 0 or self.top_p < 1)

    @property
    def has_beams(self) -> bool:
        """Whether several hypotheses are followed at once."""
        return self.name in ("beam", "beam-sample")

    def __str__(self) -> str:
        """Short, for provenance: `sample,t=1.5,p=0.9`."""
        words = [f"{self.name}{self.num_beams}" if self.has_beams else self.name]
        if self.name != "greedy":
            words += [f"t={self.temperature:g}"] if self.temperature != 1 else []
            words += [f"k={self.top_k}"] if self.top_k else []
            words += [f"p={self.top_p:g}"] if self.top_p < 1 else []
        if self.has_beams and self.length_penalty != 1:
            words.append(f"length-penalty={self.length_penalty:g}")
        return ",".join(words)
