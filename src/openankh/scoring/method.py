"""The ways of scoring variants, by name, and the settings that all share."""

from dataclasses import dataclass
from typing import Literal

from openankh.errors import UserError
from openankh.scoring.background import KINDS
from openankh.scoring.background import Kind as BackgroundKind
from openankh.scoring.window import WINDOW, Window

Method = Literal["masked-marginal", "wild-type-marginal", "pseudo-log-likelihood", "likelihood"]
METHODS: tuple[Method, ...] = ("masked-marginal", "wild-type-marginal", "pseudo-log-likelihood", "likelihood")


@dataclass(frozen=True)
class ScoringOptions:
    """How variants are scored.

    window: residues of a long protein that are read at once. background: against which composition the calibrated score
    is taken, that of the protein itself or of known proteins. Raises UserError for what is none of these.
    """

    method: Method = "masked-marginal"
    window: int = WINDOW
    background: BackgroundKind = "protein"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"method {self.method!r}: not one of {', '.join(METHODS)}")
        if self.background not in KINDS:
            raise UserError(f"background {self.background!r}: not one of {', '.join(KINDS)}")
        Window(self.window)

    @property
    def is_marginal(self) -> bool:
        """Whether a variant's score is a sum over its substitutions, each judged in the wild type."""
        return self.method in ("masked-marginal", "wild-type-marginal")
