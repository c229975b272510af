"""How many of the pairs ranked highest are in contact, by distance along the chain (as CASP and TAPE measure)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Range = Literal["all", "short", "medium", "long", "medium and long"]


@dataclass(frozen=True)
class Separation:
    """How far apart along the chain the two residues of a pair lie; `most` is None where there is no end."""

    least: int
    most: int | None = None

    def pairs(self, num_residues: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The residues i < j of all such pairs of a chain."""
        first, second = np.triu_indices(num_residues, k=self.least)
        near = slice(None) if self.most is None else second - first <= self.most
        return first[near], second[near]


RANGES: dict[Range, Separation] = {
    "all": Separation(6),
    "short": Separation(6, 11),
    "medium": Separation(12, 23),
    "long": Separation(24),
    "medium and long": Separation(12),
}


def precision_at(
    scores_LL: NDArray[np.floating],
    contacts_LL: NDArray[np.bool_],
    one_in: int = 5,
    separation: Separation = RANGES["all"],
    known_L: NDArray[np.bool_] | None = None,
) -> float:
    """Share of contacts among the L / `one_in` pairs i < j of the highest scores (L/1, L/2, L/5).

    Pairs of a residue that is not `known` are not ranked, and L counts known residues. Not a number where no pair lies
    in the range.
    """
    first, second = separation.pairs(len(scores_LL))
    if known_L is not None:
        is_ranked = known_L[first] & known_L[second]
        first, second = first[is_ranked], second[is_ranked]
    if not len(first):
        return float("nan")
    num_known = len(scores_LL) if known_L is None else int(known_L.sum())
    num = min(max(num_known // one_in, 1), len(first))
    best = np.argsort(-scores_LL[first, second], kind="stable")[:num]
    return float(contacts_LL[first, second][best].mean())
