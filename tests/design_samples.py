"""Families, models and goals for tests of design."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation_samples import small_model, vocab_of
from openankh.checkpoint import save_model
from openankh.fasta import Record
from openankh.loaded import LoadedModel, load
from openankh.provenance import Provenance

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
PARENT = Record("P", "", "MKTAYIAKQRQISFVKSHFSRQ", 1)


def family_members(num: int, length: int = 40, seed: int = 0) -> tuple[Record, ...]:
    """Relatives: one sequence with a tenth of its residues drawn anew."""
    source = np.random.default_rng(seed)
    first = "".join(source.choice(list(LETTERS), length))
    return tuple(
        Record(
            f"m{number}",
            "",
            "".join(source.choice(list(LETTERS)) if source.random() < 0.1 else letter for letter in first),
            1,
        )
        for number in range(num)
    )


def write_family(path: Path, members: Sequence[Record]) -> Path:
    path.write_text("".join(f">{member.id}\n{member.sequence}\n" for member in members))
    return path


def save_small(folder: Path, vocab: str = "openankh") -> str:
    """The folder of a small model of random weights."""
    save_model(small_model(vocab), vocab_of(vocab), folder, Provenance(vocab, "CC-BY-4.0"))
    return str(folder)


def fresh(folder: str) -> LoadedModel:
    """A model in fp32 that nobody else holds."""
    return load(folder, "cpu", precision="fp32")


@lru_cache
def weight_of(letter: str) -> float:
    return LETTERS.index(letter) / 10


class SumGoal:
    """The sum of numbers that belong to letters, with what a pair of changes brings beyond it."""

    name = "sum"

    def __init__(self, parent: str, pairs: dict[tuple[int, int], float] | None = None) -> None:
        self.parent, self.pairs, self.num_asked = parent, pairs or {}, 0

    def values(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        self.num_asked += len(sequences)
        return np.array([self.of(sequence) for sequence in sequences])

    def of(self, sequence: str) -> float:
        changed = {place for place, letter in enumerate(sequence) if letter != self.parent[place]}
        own = sum(weight_of(sequence[place]) - weight_of(self.parent[place]) for place in changed)
        return own + sum(bonus for pair, bonus in self.pairs.items() if set(pair) <= changed)
