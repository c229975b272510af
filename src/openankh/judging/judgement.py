"""A judgement: what was found of each protein, of each set of them, and of the family they are held against."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.judging.columns import Columns, EntropyDifference

ACCEPTED = 1e-10
MOST_LEARNED = 2_000
FEWEST_NATURALS = 20
Kind = Literal["designs", "control"]


@dataclass(frozen=True)
class JudgeOptions:
    """How designs are judged.

    accept: the profile takes a protein for a member of the family up to this E-value. learned: at most so many
    naturals, of a random half of the family, make the profile. controls: so many of the other half stand beside the
    designs (None: as many as the largest set of designs, 100 to 1,000). seed: of whatever is drawn. Raises UserError
    for what makes no sense.
    """

    accept: float = ACCEPTED
    learned: int = MOST_LEARNED
    controls: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.accept < math.inf:
            raise UserError(f"accept {self.accept}: an E-value above 0, as 1e-10")
        if self.learned < FEWEST_NATURALS // 2:
            raise UserError(f"learned {self.learned}: give at least {FEWEST_NATURALS // 2} naturals to the profile")
        if self.controls is not None and self.controls < 1:
            raise UserError(f"controls {self.controls}: give at least 1")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: give 0 or more")


@dataclass(frozen=True)
class Share:
    """A share of proteins with Wilson's 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, part: int, whole: int) -> "Share":
        """So many of so many."""
        z, share = 1.959964, part / whole
        middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
        reach = z / (1 + z * z / whole) * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
        return cls(share, max(0.0, middle - reach), min(1.0, middle + reach))


@dataclass(frozen=True)
class ProteinFacts:
    """What was found of one protein.

    `copies`: how often its sequence is in the set. `nearest`: the id of the most alike natural one, never itself where
    it is a natural one held out. `is_natural`: the sequence is in the family. `low_complexity`: a share of residues.
    """

    id: str
    length: int
    bits: float
    e_value: float
    is_accepted: bool
    nearest: str
    nearest_identity: float
    is_natural: bool
    copies: int
    low_complexity: float


@dataclass(frozen=True, eq=False)
class SetFacts:
    """What was found of a set; arrays are for the figures."""

    name: str
    kind: Kind
    origin: str
    proteins: tuple[ProteinFacts, ...]
    accepted: Share
    unique: float
    novel: float
    pair_identities: NDArray[np.float64]
    shares_20: NDArray[np.float64]
    composition_bits: float
    columns: Columns
    entropy: EntropyDifference

    def __len__(self) -> int:
        return len(self.proteins)

    def values(self, field: str) -> NDArray[np.float64]:
        """One number of every protein."""
        return np.array([getattr(protein, field) for protein in self.proteins], np.float64)


@dataclass(frozen=True)
class FamilyFacts:
    """The family: where from, its distinct proteins, how many made the profile, and what came of that."""

    origin: str
    num_proteins: int
    num_distinct: int
    num_learned: int
    num_columns: int
    seed_id: str
    consensus: str
    bits_accepted: float


@dataclass(frozen=True, eq=False)
class Judgement:
    """All of it: the sets in order (designs, then controls), the family, its columns, composition, and its profile as
    the text of a HMMER file.
    """

    family: FamilyFacts
    sets: tuple[SetFacts, ...]
    natural_columns: Columns
    natural_shares_20: NDArray[np.float64]
    profile: str
    options: JudgeOptions

    @property
    def designs(self) -> tuple[SetFacts, ...]:
        """The sets that are judged, without controls."""
        return tuple(each for each in self.sets if each.kind == "designs")
