"""A mixture of objectives: each protein, each time it is served, is given one of several tasks (Ankh3 paper)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.objectives.masks import offsets_of
from openankh.objectives.objective import Objective
from openankh.objectives.presentations import Examples
from openankh.packed import Packed
from openankh.vocab import Vocab


@dataclass(frozen=True)
class Share:
    """An objective and its weight: the share of proteins that is given it, over the sum of weights."""

    objective: Objective
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise UserError(f"the weight of objective {self.objective.name!r} is {self.weight}; give a number above 0")


@dataclass(frozen=True)
class Mixture:
    """Several objectives trained at once; every batch holds proteins of each, in proportion to the weights."""

    shares: tuple[Share, ...]

    def __post_init__(self) -> None:
        names = [share.objective.name for share in self.shares]
        if len(names) < 2 or len(set(names)) < len(names):
            raise UserError(f"a mixture needs several objectives of different names, not {', '.join(names) or 'none'}")

    @property
    def tasks(self) -> tuple[Objective, ...]:
        """Its objectives."""
        return tuple(share.objective for share in self.shares)

    def draw_tasks(self, num_proteins: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The number of each protein's task, (B,)."""
        weights = np.array([share.weight for share in self.shares])
        return rng.choice(len(weights), num_proteins, p=weights / weights.sum())

    def num_added(self, vocab: Vocab) -> int:
        """The most tokens that come to a protein's own in the inputs, whatever its task."""
        return max(task.num_added(vocab) for task in self.tasks)


Training = Objective | Mixture
"""What a model is trained to do."""


def show(
    tasks: Sequence[Objective], numbers: NDArray[np.int64], residues: Packed, vocab: Vocab, rng: np.random.Generator
) -> Examples:
    """The examples of a batch whose proteins are sorted by the number of their task, `numbers` (B,)."""
    parts: list[Examples] = []
    for number, task in enumerate(tasks):
        first, last = np.searchsorted(numbers, (number, number + 1))
        if first < last:
            parts.append(task.examples(_sequences(residues, int(first), int(last)), vocab, rng))
    return Examples(_end_to_end([part.inputs for part in parts]), _end_to_end([part.targets for part in parts]))


def _sequences(packed: Packed, first: int, last: int) -> Packed:
    offsets = packed.offsets[first : last + 1]
    return Packed(packed.ids[offsets[0] : offsets[-1]], offsets - offsets[0])


def _end_to_end(parts: Sequence[Packed]) -> Packed:
    lengths = np.concatenate([part.lengths for part in parts])
    return Packed(np.concatenate([part.ids for part in parts]), offsets_of(lengths))
