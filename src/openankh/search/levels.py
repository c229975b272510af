"""The levels of hierarchical labels: C, A, T and H of the CATH code 3.40.50.720, the four numbers of an EC number.

Labels are hierarchical when all of them are short parts joined by dots, and some have three parts or more. A part `-`
means that this and the levels below are not known.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PART = r"(?:[A-Za-z]?\d{1,6}|[A-Za-z])"
_CODE = re.compile(rf"{_PART}(?:\.{_PART})*(?:\.-)*")
_CATH = ("C", "A", "T", "H")


@dataclass(frozen=True)
class Levels:
    """The names of a label's levels, the coarsest first; one level without a name for labels that have none."""

    names: tuple[str, ...]

    @property
    def is_flat(self) -> bool:
        """Whether labels are compared as a whole."""
        return self.names == ("",)

    def cut(self, label: str, level: int) -> str:
        """The label down to a level (counted from 0); "" where it does not say so much."""
        if self.is_flat or not label:
            return label
        parts = label.split(".")[: level + 1]
        return ".".join(parts) if len(parts) == level + 1 and "-" not in parts else ""


FLAT = Levels(("",))


def levels_of(name: str, labels: Iterable[str]) -> Levels:
    """The levels of a column of labels of this name, as its labels show them."""
    depth, is_numeric = 0, True
    for label in filter(None, labels):
        if not _CODE.fullmatch(label):
            return FLAT
        depth = max(depth, label.count(".") + 1)
        is_numeric &= label.replace(".", "").isdigit()
    if depth < 3:
        return FLAT
    if depth == len(_CATH) and is_numeric and "cath" in name.lower():
        return Levels(_CATH)
    return Levels(tuple(str(level + 1) for level in range(depth)))
