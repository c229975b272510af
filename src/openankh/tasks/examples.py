"""Proteins with their targets, in splits: what is learned from and what is measured on.

L residues, C classes or labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from numpy.typing import NDArray

from openankh.tasks.target_space import TargetSpace
from openankh.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Examples:
    """Proteins of one split.

    A target is, by the kind: a class, an array without axes; one class a residue (L,), -1 where it is not counted; a
    number, without axes; 0 or 1 for each label (C,); coordinates (L, 3) for contacts; a code.
    """

    ids: tuple[str, ...]
    sequences: tuple[str, ...]
    targets: tuple[NDArray, ...]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.sequences) == len(self.targets)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_residues(self) -> int:
        """Residues of all proteins."""
        return sum(map(len, self.sequences))

    def at(self, places: Sequence[int]) -> "Examples":
        """The examples at these places, in that order."""
        return Examples(
            tuple(self.ids[place] for place in places),
            tuple(self.sequences[place] for place in places),
            tuple(self.targets[place] for place in places),
        )


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its data: `train`, `valid` and what begins with `test`, or `lookup` instead of `train`.

    `notes` say what was left out or changed while reading, each in one line.
    """

    task: Task
    space: TargetSpace
    splits: Mapping[str, Examples]
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> Examples:
        """What is learned from."""
        return self.splits["train"]

    @property
    def valid(self) -> Examples:
        """What the best epoch is chosen by."""
        return self.splits["valid"]

    @property
    def tests(self) -> Mapping[str, Examples]:
        """The test sets, by their names."""
        return {name: examples for name, examples in self.splits.items() if name.startswith("test")}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all sequences and targets, which tells whether two runs had the same data."""
        digest = hashlib.sha256(self.task.name.encode())
        for name, examples in sorted(self.splits.items()):
            digest.update(f"\n{name} {len(examples)}".encode())
            for sequence, target in zip(examples.sequences, examples.targets, strict=True):
                digest.update(b"\n" + sequence.encode() + b"\t" + target.tobytes())
        return digest.hexdigest()
