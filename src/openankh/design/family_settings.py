"""What is decided about designing from a family: how a model is adapted to it, and what is then written."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from openankh.errors import UserError
from openankh.generation.method import Method
from openankh.pretraining.optimisers import OptimiserName, OptimiserSettings
from openankh.tasks.lora import LoraConfig

Tune = Literal["decoder", "lora", "full"]
Prompts = Literal["held-out", "learned"]

_MATRIX_RATE = 10 / 3
"""Under Muon: the rate of matrices, for 1 of all else; the ratio that pre-training uses."""


@dataclass(frozen=True)
class FamilySettings:
    """How a model is adapted to a family, and what it writes then (Ankh paper, High-N generation).

    Adapting. `tune`: the decoder alone, the encoder and the embedding it shares being frozen; `lora`: matrices of rank
    `lora_rank` added to queries and values of both; all. `epochs` 0 adapts nothing. The learning rate warms up over
    `warmup` (a share of all steps), then falls linearly. A step reads `batch` members, of which the first `length`
    residues are learned: the encoder reads the first `prompt` of them, the decoder writes the rest. A share `holdout`
    of the members is kept aside; by the loss on them the best epoch is chosen.

    Writing. `num` proposals at each temperature, of at most `length` residues, at least `min_length`, behind the first
    residues of members: `prompts` tells which.
    """

    tune: Tune = "decoder"
    epochs: int = 2
    learning_rate: float = 3e-4
    optimiser: OptimiserName = "adamw"
    warmup: float = 0.05
    batch: int = 4
    lora_rank: int = 16
    lora_alpha: float = 16.0
    length: int = 512
    prompt: int = 20
    holdout: float = 0.05
    prompts: Prompts = "held-out"
    num: int = 100
    temperatures: tuple[float, ...] = (1.0,)
    method: Literal["sample", "beam", "beam-sample"] = "beam-sample"
    beams: int = 10
    top_k: int = 0
    top_p: float = 1.0
    min_length: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_words()
        self._check_numbers()
        for temperature in self.temperatures:
            self.method_at(temperature)
        if len(set(self.temperatures)) < len(self.temperatures) or not self.temperatures:
            raise UserError("--temperatures: give one or more, each once")
        if self.holdout == 0 and self.prompts == "held-out":
            raise UserError("--holdout 0: no member is left for prompts; give --prompts learned, or hold some out")
        if self.prompt >= self.length:
            raise UserError(f"--prompt {self.prompt}: leaves nothing to write of --length {self.length}; lower it")
        if self.min_length > self.length:
            raise UserError(f"--min-length {self.min_length} is more than --length {self.length}")

    def _check_words(self) -> None:
        legal = {"tune": get_args(Tune), "prompts": get_args(Prompts), "method": ("sample", "beam", "beam-sample")}
        for name, words in legal.items():
            if getattr(self, name) not in words:
                raise UserError(f"--{name} {getattr(self, name)}: not one of {', '.join(words)}")

    def _check_numbers(self) -> None:
        least = {"epochs": 0, "batch": 1, "prompt": 1, "length": 2, "num": 1, "min_length": 0, "seed": 0}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least {number}")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"--learning-rate {self.learning_rate}: give a number above 0, as 3e-4")
        for name in ("holdout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: give a share from 0 to below 1, as 0.05")
        if self.tune == "lora":
            self.lora  # noqa: B018  (raises for what makes no sense)

    @property
    def lora(self) -> LoraConfig:
        """What is added under `lora`."""
        return LoraConfig(self.lora_rank, self.lora_alpha)

    @property
    def optimiser_settings(self) -> OptimiserSettings:
        """The optimiser as pre-training takes it."""
        rate = self.learning_rate
        betas = (0.9, 0.999)
        return OptimiserSettings(self.optimiser, rate, matrix_learning_rate=rate * _MATRIX_RATE, betas=betas)

    def method_at(self, temperature: float) -> Method:
        """How residues are chosen at a temperature."""
        return Method(self.method, temperature, self.top_k, self.top_p, self.beams)


def mdh() -> FamilySettings:
    """The malate dehydrogenase experiment, as the Ankh paper has it (High-N generation).

    The encoder frozen, 2 epochs at 3e-4 in batches of 4, 256 residues; prompts of 20, 10 beams after temperature
    warping, 500 proposals at each of t = 1, 1.5 and 2.
    """
    return FamilySettings(length=256, num=500, temperatures=(1.0, 1.5, 2.0))


RECIPES: dict[str, Callable[[], FamilySettings]] = {"mdh": mdh}


def settings_of(recipe: str | None, changes: dict[str, object]) -> FamilySettings:
    """A recipe's settings, or the ordinary ones, with those changes that are not None."""
    if recipe is not None and recipe not in RECIPES:
        raise UserError(f"--recipe {recipe}: not one of {', '.join(RECIPES)}")
    settings = RECIPES[recipe]() if recipe else FamilySettings()
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
