"""Which places of a protein are hidden: a share of it, of some regions, or all but what is fixed."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError


@dataclass(frozen=True)
class Masking:
    """A share of the places that may be hidden: those of `regions` (empty: all), but for the `fixed` ones.

    Places count from 1. A share of 1 hides them all. Raises UserError for a share that hides nothing.
    """

    share: float = 0.5
    regions: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"--share {self.share:g}: give a share above 0, at most 1, as 0.5")

    def candidates(self, length: int) -> NDArray[np.int64]:
        """The places that may be hidden, counted from 0; UserError for places beyond the protein, and for none."""
        require_within(self.regions, length, "--region")
        require_within(self.fixed, length, "--fixed")
        free = set(self.regions or range(1, length + 1)) - set(self.fixed)
        if not free:
            raise UserError("--fixed: holds every place that could be hidden; fix fewer, or widen --region")
        return np.array(sorted(free), np.int64) - 1

    def draw(self, length: int, seed: int, number: int) -> NDArray[np.int64]:
        """The places, from 0 and ascending, that mask `number` hides: at least one."""
        candidates = self.candidates(length)
        num = min(max(1, int(len(candidates) * self.share + 0.5)), len(candidates))
        return np.sort(np.random.default_rng((seed, number)).choice(candidates, num, replace=False))


def parse_places(text: str, option: str) -> tuple[int, ...]:
    """Places written `22,96-98`, ascending and each once; UserError for anything else."""
    places: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?", part)
        if found is None:
            raise UserError(f"{option} {part[:40]}: write places and ranges, as 22,96-98")
        first, last = int(found[1]), int(found[2] or found[1])
        if first < 1 or last < first or last - first > 1_000_000:
            raise UserError(f"{option} {part}: places count from 1, the smaller one first")
        places.update(range(first, last + 1))
    return tuple(sorted(places))


def require_within(places: tuple[int, ...], length: int, option: str) -> None:
    """Raise UserError for a place beyond the protein."""
    if places and places[-1] > length:
        raise UserError(f"{option} {places[-1]}: lies beyond the protein, which has {length} residues")
