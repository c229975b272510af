"""Which proteins a head sees together: at random, of like length, no more than fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ALIKE = 16
"""Of so many batches' proteins those of like length come together: little padding, yet other company every time."""


@dataclass(frozen=True)
class BatchLimits:
    """At most `proteins` of them, and `cells` rows (or pairs of rows), padding included; one protein always fits."""

    proteins: int = 16
    cells: int = 1 << 15
    of_pairs: bool = False

    def fits(self, num: int, longest: int) -> bool:
        """Whether so many proteins fit, the longest of them so long."""
        return num <= self.proteins and num * longest * (longest if self.of_pairs else 1) <= self.cells


def batches(lengths: Sequence[int], limits: BatchLimits, generator: np.random.Generator) -> list[list[int]]:
    """The places of all proteins, each in exactly one batch, in an order that the generator draws."""
    order = generator.permutation(len(lengths))
    found: list[list[int]] = []
    for start in range(0, len(order), _ALIKE * limits.proteins):
        near = sorted(order[start : start + _ALIKE * limits.proteins].tolist(), key=lambda place: lengths[place])
        found += _cut(near, lengths, limits)
    return [found[number] for number in generator.permutation(len(found))]


def _cut(places: Sequence[int], lengths: Sequence[int], limits: BatchLimits) -> list[list[int]]:
    """Consecutive places, which are in the order of their lengths, as far as they fit together."""
    found: list[list[int]] = []
    for place in places:
        if found and limits.fits(len(found[-1]) + 1, lengths[place]):
            found[-1].append(place)
        else:
            found.append([place])
    return found
