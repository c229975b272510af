"""Other software that runs the same encoder with the same weights, each as its makers advise, one file each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

States = Callable[[Sequence[Tensor]], list[Tensor]]
"""The residues' rows (L, D) in float of proteins given as ids that end with `</s>`."""


@dataclass(frozen=True)
class Way:
    """A way to compute: who, in which numbers, and how it is run."""

    who: str
    numbers: str
    how: str
    states: States

    @property
    def name(self) -> str:
        """Who and how, as a table shows it."""
        return f"{self.who}, {self.how}" if self.how else self.who
