"""What goes into a dossier: how variants are scored, and how many neighbours are told."""

from dataclasses import dataclass
from typing import Literal

from openankh.errors import UserError
from openankh.loaded import LoadedModel
from openankh.scoring.method import Method

Variants = Literal["auto", "masked-marginal", "wild-type-marginal", "none"]
VARIANTS: tuple[Variants, ...] = ("auto", "masked-marginal", "wild-type-marginal", "none")

_AFFORDABLE = 5e12
"""Multiplications and additions that a processor does in about a minute."""


@dataclass(frozen=True)
class DossierOptions:
    """variants: a method of scoring; `auto` hides each residue in turn where that takes about a minute or less, and
    reads each protein once otherwise. neighbours: how many near proteins are told.

    Raises UserError for what is neither.
    """

    variants: Variants = "auto"
    neighbours: int = 8

    def __post_init__(self) -> None:
        if self.variants not in VARIANTS:
            raise UserError(f"variants {str(self.variants)[:40]!r}: not one of {', '.join(VARIANTS)}")
        if not 1 <= self.neighbours <= 100:
            raise UserError(f"neighbours {self.neighbours}: give 1 to 100")

    def method_for(self, loaded: LoadedModel, lengths: list[int]) -> Method | None:
        """How variants of proteins of these lengths are scored, None where they are not."""
        if self.variants in ("none", "masked-marginal", "wild-type-marginal"):
            return None if self.variants == "none" else self.variants
        operations = 2 * loaded.model.config.num_encoder_parameters * sum(length * length for length in lengths)
        return "masked-marginal" if operations <= _AFFORDABLE else "wild-type-marginal"
