"""Rows that know the letters alone, for the same heads as a model's: what any embedding has to beat.

L residues, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.benchmarking.options import Baseline
from openankh.search.cath import composition, composition_and_dipeptides
from openankh.store import Pool
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.examples import TaskData
from openankh.tasks.heads.head import HeadConfig, HeadName
from openankh.tasks.predictor import row_pool

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
ONE_HOT_WIDTH = 24
"""Twenty amino acids, one column for all other letters, and three of zeros: what ConvBERT's heads can divide."""
WINDOW = 15
"""Residues around each one, itself among them, as the classical predictors of secondary structure look at."""

_PLACE = np.full(128, len(LETTERS), np.int64)
_PLACE[[ord(letter) for letter in LETTERS]] = np.arange(len(LETTERS))

Make = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class BaselineRows:
    """Rows of a protein made of its letters when they are asked for; `group` is the name it is chosen by."""

    name: str
    group: Baseline
    make: Make
    width: int
    pool: Pool = "residues"

    @property
    def preprocessing(self) -> Preprocessing:
        """That of no model."""
        return Preprocessing(self.name, "0" * 64, 0, self.pool, "", "fp32", "fp32", self.width)

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The rows (L, D), or of the protein as a whole (1, D)."""
        return self.make(sequence)


def baselines_of(data: TaskData, head: HeadName) -> tuple[BaselineRows, ...]:
    """What is compared with a model under this head.

    Of residues and pairs: the residue's own letter, with a linear head or MLP of residues also its window's letters in
    their order, and the composition of that window. Of proteins: their composition, composition and dipeptides, and
    where all have one length the letter of each position; under heads that read rows of residues the letters as rows.
    """
    if data.task.unit != "protein":
        found = [_one_hot(), _window_composition()]
        reads_alone = data.task.unit == "residue" and head in ("linear", "mlp")
        return tuple([*found, _window_one_hot()] if reads_alone else found)
    if row_pool(HeadConfig(head, "protein", 4, 1)) == "residues" and head != "mlp":
        return (_one_hot(),)
    found = [_composition(), _dipeptides()]
    if has_one_length(data):
        found.append(_positions(data.train.sequences))
    return tuple(found)


def has_one_length(data: TaskData) -> bool:
    """Whether all proteins are as long as each other, as the variants of one protein."""
    return len({len(sequence) for part in data.splits.values() for sequence in part.sequences}) == 1


def one_hot(sequence: str) -> NDArray[np.float32]:
    """Which letter each residue is (L, 24)."""
    return np.eye(ONE_HOT_WIDTH, dtype=np.float32)[places_of(sequence)]


def places_of(sequence: str) -> NDArray[np.int64]:
    """The column of each letter (L,)."""
    return _PLACE[np.frombuffer(sequence.encode("ascii"), np.uint8)]


def window_one_hot(sequence: str) -> NDArray[np.float32]:
    """The letters of the 15 residues around each, in their order (L, 15 x 24); zeros beyond the ends."""
    side = WINDOW // 2
    padded = np.pad(one_hot(sequence), ((side, side), (0, 0)))
    return np.concatenate([padded[at : at + len(sequence)] for at in range(WINDOW)], axis=1)


def window_composition(sequence: str) -> NDArray[np.float32]:
    """The shares of letters among the 15 residues around each (L, 24); fewer at the ends."""
    side = WINDOW // 2
    sums = np.concatenate([np.zeros((1, ONE_HOT_WIDTH)), np.cumsum(one_hot(sequence), axis=0, dtype=np.float64)])
    at = np.arange(len(sequence))
    first, last = np.maximum(at - side, 0), np.minimum(at + side + 1, len(sequence))
    return ((sums[last] - sums[first]) / (last - first)[:, None]).astype(np.float32)


def _one_hot() -> BaselineRows:
    return BaselineRows("one-hot", "one-hot", one_hot, ONE_HOT_WIDTH)


def _window_one_hot() -> BaselineRows:
    return BaselineRows(f"one-hot of {WINDOW} residues", "one-hot", window_one_hot, WINDOW * ONE_HOT_WIDTH)


def _window_composition() -> BaselineRows:
    return BaselineRows(f"composition of {WINDOW} residues", "composition", window_composition, ONE_HOT_WIDTH)


def _composition() -> BaselineRows:
    width = len(LETTERS)
    return BaselineRows("composition", "composition", _whole(composition), width, "mean")


def _dipeptides() -> BaselineRows:
    width = len(LETTERS) + len(LETTERS) ** 2
    return BaselineRows("composition and dipeptides", "composition", _whole(composition_and_dipeptides), width, "mean")


def _whole(features: Callable[[Sequence[str]], NDArray[np.floating]]) -> Make:
    return lambda sequence: np.nan_to_num(features([sequence])).astype(np.float32)


def _positions(sequences: Sequence[str]) -> BaselineRows:
    """One column for each letter that some training protein has at some position where another has another."""
    places_NL = np.stack([places_of(sequence) for sequence in sequences])
    varies_L = (places_NL != places_NL[0]).any(axis=0)
    columns = np.unique(np.arange(places_NL.shape[1])[varies_L] * ONE_HOT_WIDTH + places_NL[:, varies_L])

    def make(sequence: str) -> NDArray[np.float32]:
        return one_hot(sequence).ravel()[columns][None]

    return BaselineRows("one-hot of each position", "one-hot", make, len(columns), "mean")
