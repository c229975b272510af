"""Windows: the stretch of a long protein that a model reads to judge one place of it."""

from dataclasses import dataclass
from itertools import pairwise

from openankh.errors import UserError

WINDOW = 1022
"""Residues read at once unless said otherwise: with the prefix and `</s>` 1,024 tokens."""


@dataclass(frozen=True)
class Window:
    """Proteins of up to `most` residues are read whole; of longer ones the stretch of `most` around the place asked
    about, which lies in its middle, or as near to it as the protein's ends allow.
    """

    most: int = WINDOW

    def __post_init__(self) -> None:
        if self.most < 8:
            raise UserError(f"window is {self.most}; it must be at least 8 residues")

    def around(self, place: int, length: int) -> slice:
        """The stretch read for a place, counted from 0."""
        start = max(0, min(place - self.most // 2, length - self.most))
        return slice(start, min(length, start + self.most))

    def tiles(self, length: int) -> list[tuple[slice, slice]]:
        """Stretches that cover a protein, half overlapping, and the part of it that each one judges.

        A place is judged by the stretch in which it lies farthest from the ends.
        """
        if length <= self.most:
            return [(slice(0, length), slice(0, length))]
        step = self.most // 2
        starts = [*range(0, length - self.most, step), length - self.most]
        borders = [0, *((a + self.most + b) // 2 for a, b in pairwise(starts)), length]
        return [(slice(start, start + self.most), slice(borders[n], borders[n + 1])) for n, start in enumerate(starts)]
