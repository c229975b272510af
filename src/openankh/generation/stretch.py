"""How much of a protein is kept, and how long it is to become."""

from dataclasses import dataclass

from openankh.errors import UserError

MOST_WRITTEN = 100_000
"""Residues that can be written at most."""

FREE = 1_000
"""Residues that are written at most where no end is given."""


@dataclass(frozen=True)
class Span:
    """Of one protein: residues kept, and of the finished protein at least and at most."""

    kept: int
    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        """Whether the length is decided."""
        return self.least == self.most


@dataclass(frozen=True)
class Stretch:
    """`keep`: a share below 1, or a number of residues from 1 on, of each protein; by default all of it.

    `length`: of the finished protein, exactly. Without it, and where `keep` is given, that of the protein itself. With
    neither, or with `min_length` or `max_length` (of the finished protein), the model decides by writing `</s>`.
    Raises UserError for numbers that make no sense.
    """

    keep: float | None = None
    length: int | None = None
    min_length: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        keep, least, most = self.keep, self.min_length, self.max_length
        if keep is not None and not (0 < keep < 1 or (keep >= 1 and keep == int(keep))):
            raise UserError(f"keep {keep:g}: give a share between 0 and 1, such as 0.5, or a whole number of residues")
        if self.length is not None and (least is not None or most is not None):
            raise UserError("length and min/max length: give an exact length, or limits for one the model decides")
        for name, number in (("length", self.length), ("min length", least), ("max length", most)):
            if number is not None and number < 1:
                raise UserError(f"{name} {number}: must be at least 1")
        if least is not None and most is not None and least > most:
            raise UserError(f"min length {least} is more than max length {most}")

    @property
    def is_free(self) -> bool:
        """Whether the model decides the length."""
        if self.min_length is not None or self.max_length is not None:
            return True
        return self.keep is None and self.length is None

    def of(self, num_residues: int, who: str) -> Span:
        """For a protein of so many residues; UserError that names it where nothing could be kept or written."""
        kept = self._kept(num_residues, who)
        if not self.is_free:
            least = most = num_residues if self.length is None else self.length
        else:
            least = max(self.min_length or 0, kept + 1)
            most = kept + FREE if self.max_length is None else self.max_length
        if most <= kept:
            raise UserError(
                f"{who}: {kept} residues are kept, so a length of {most} leaves none to write; ask for more"
            )
        if most - kept > MOST_WRITTEN:
            raise UserError(f"{who}: {most - kept:,} residues to write; {MOST_WRITTEN:,} are the most")
        return Span(kept, min(least, most), most)

    def _kept(self, num_residues: int, who: str) -> int:
        if self.keep is None:
            return num_residues
        if self.keep < 1:
            if num_residues < 2:
                raise UserError(f"{who}: has {num_residues} residue, which cannot be cut in two; leave it out")
            return min(max(int(num_residues * self.keep + 0.5), 1), num_residues - 1)
        if self.keep > num_residues:
            raise UserError(f"{who}: has {num_residues} residues, of which {self.keep:.0f} cannot be kept; keep fewer")
        return int(self.keep)
