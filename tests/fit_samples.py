"""Made-up tasks whose targets can be read off the letters, and rows that show the letters."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.target_space import IGNORED, Classes, Contacts, Labels, Numbers, TargetSpace
from openankh.tasks.task import Coordinates, MetricName, Target, Task, Unit
from task_samples import LETTERS

WIDTH = 24
"""Twenty letters and four numbers that tell nothing: what ConvBERT can divide among its heads."""


class LetterRows:
    """Rows that show the letters, (L, 24), or their mean; counts what is asked for."""

    def __init__(self, pool: str = "residues", width: int = WIDTH) -> None:
        self.preprocessing = Preprocessing("letters", "0" * 64, 0, pool, "", "fp32", "fp32", width)  # type: ignore[arg-type]  # pyright: ignore

    def rows(self, sequence: str) -> NDArray[np.float32]:
        rows_LD = np.eye(WIDTH, dtype=np.float32)[[LETTERS.index(letter) for letter in sequence]]
        return rows_LD if self.preprocessing.pool == "residues" else rows_LD.mean(axis=0, keepdims=True)


def sequences(num: int, seed: int = 0, shortest: int = 8, longest: int = 30) -> list[str]:
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(LETTERS), int(generator.integers(shortest, longest)))) for _ in range(num)]


def structure(sequence: str) -> NDArray[np.int64]:
    """The class of each residue; the first one is not counted."""
    classes_L = np.array([LETTERS.index(letter) % 3 for letter in sequence])
    classes_L[0] = IGNORED
    return classes_L


def task_data(
    unit: Unit, target: Target, metric: MetricName, space: TargetSpace, label: Callable[[str], NDArray], num: int = 60
) -> TaskData:
    where = Coordinates("x.npz") if target == "contacts" else None
    task = Task("made-up", "A task made up", unit, target, (metric,), (), "nobody", coordinates=where)
    splits = {}
    for seed, (name, count) in enumerate({"train": num, "valid": num // 3, "test": num // 3}.items()):
        found = sequences(count, seed)
        splits[name] = Examples(tuple(map(str, range(count))), tuple(found), tuple(map(label, found)))
    return TaskData(task, space, splits)


def residue_data() -> TaskData:
    return task_data("residue", "classes", "accuracy", Classes(("C", "E", "H")), structure)


def class_data(num: int = 60) -> TaskData:
    """Whether the first half of the alphabet has the majority."""
    return task_data("protein", "classes", "accuracy", Classes(("few", "many")), _majority, num)


def number_data() -> TaskData:
    data = task_data("protein", "number", "spearman", Numbers(), lambda text: np.array(1000 + 50 * _share(text)))
    values = np.array(data.train.targets)
    return TaskData(data.task, Numbers(float(values.mean()), float(values.std())), data.splits)


def label_data() -> TaskData:
    space = Labels(("many", "acid"))
    return task_data("protein", "labels", "f1", space, lambda text: np.array([_majority(text), "D" in text], np.int64))


def contact_data() -> TaskData:
    """Equal letters meet in one place, others lie far from each other; nobody knows where the first residue is."""

    def xyz(text: str) -> NDArray[np.float32]:
        xyz_L3 = np.array([[12.0 * LETTERS.index(letter)] * 3 for letter in text], np.float32)
        xyz_L3[0] = np.nan
        return xyz_L3

    return task_data("pair", "contacts", "precision_at_L/5", Contacts(), xyz)


def _share(text: str) -> float:
    return sum(LETTERS.index(letter) < 10 for letter in text) / len(text)


def _majority(text: str) -> NDArray[np.int64]:
    return np.array(int(_share(text) > 0.5))
