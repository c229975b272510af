"""What is decided about designing from one protein: what is hidden, how it is written anew, how results are ranked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from openankh.errors import UserError
from openankh.generation.method import Method
from openankh.generation.options import WINDOW

Rank = Literal["mean-log-prob", "pseudo-log-likelihood"]


@dataclass(frozen=True)
class OneSettings:
    """How one protein is written anew in part (Ankh paper, One-N generation).

    `masks` masks are drawn, each hiding `share` of the protein; for each `per_mask` results are written. Up to `window`
    hidden residues are shown as sentinels at once. Of all that pass the filters the `num` best by `rank` are kept.
    """

    share: float = 0.5
    masks: int = 20
    per_mask: int = 5
    num: int = 50
    temperature: float = 1.0
    method: Literal["sample", "beam", "beam-sample"] = "beam-sample"
    beams: int = 30
    top_k: int = 0
    top_p: float = 1.0
    rank: Rank = "mean-log-prob"
    window: int = WINDOW
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("masks", "per_mask", "num", "window"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: must be at least 0")
        if self.rank not in get_args(Rank):
            raise UserError(f"--rank {self.rank}: not one of {', '.join(get_args(Rank))}")
        if self.how.has_beams and self.per_mask > self.beams:
            raise UserError(
                f"--per-mask {self.per_mask}: more than --beams {self.beams} can give; raise --masks instead"
            )

    @property
    def how(self) -> Method:
        """How residues are chosen."""
        return Method(self.method, self.temperature, self.top_k, self.top_p, self.beams)


def nanobody() -> OneSettings:
    """The nanobody experiment as the Ankh paper has it: half hidden, 30 beams at t = 1."""
    return OneSettings(share=0.5, temperature=1.0, beams=30)


def nanobody_warm() -> OneSettings:
    """The paper's other setting: 40 % hidden, 30 beams at t = 1.5."""
    return OneSettings(share=0.4, temperature=1.5, beams=30)


RECIPES: dict[str, Callable[[], OneSettings]] = {"nanobody": nanobody, "nanobody-warm": nanobody_warm}


def settings_of(recipe: str | None, changes: dict[str, object]) -> OneSettings:
    """A recipe's settings, or the ordinary ones, with those changes that are not None."""
    if recipe is not None and recipe not in RECIPES:
        raise UserError(f"--recipe {recipe}: not one of {', '.join(RECIPES)}")
    settings = RECIPES[recipe]() if recipe else OneSettings()
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
