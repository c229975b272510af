"""What predictions are worth: the metrics of a task with their intervals over resampled proteins.

L residues, C classes or labels, U proteins.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import RANGES, precision_at
from openankh.tasks.examples import Examples
from openankh.tasks.interval import Interval, interval_of_choices, interval_of_sums
from openankh.tasks.metrics import (
    area_of_codes,
    confusion,
    f1,
    matthews_correlation,
    order_codes,
    spearman_of_codes,
)
from openankh.tasks.target_space import IGNORED, Classes, Contacts, Labels, Numbers, TargetSpace
from openankh.tasks.task import MetricName, Task

_MOST_COUNTS = 1 << 24
_OF_CONFUSION: Mapping[MetricName, Callable[[NDArray], float]] = {"mcc": matthews_correlation, "f1": f1}


@dataclass(frozen=True)
class Measured:
    """One metric of one set of predictions; `name` tells the range of contacts too."""

    name: str
    interval: Interval


def evaluate(
    task: Task, space: TargetSpace, outputs: Sequence[NDArray[np.floating]], examples: Examples
) -> tuple[Measured, ...]:
    """Judge a head's outputs by all metrics of a task, the deciding one first.

    `outputs`, one array a protein: logits of classes (C,), or of each residue (L, C); a number, without axes or (1,);
    logits of labels (C,); logits of contacts (L, L).
    """
    assert len(outputs) == len(examples), (len(outputs), len(examples))
    if isinstance(space, Contacts):
        return _contacts(space, outputs, examples)
    return tuple(Measured(name, _measured(name, task, space, outputs, examples)) for name in task.metrics)


def _measured(
    name: MetricName, task: Task, space: TargetSpace, outputs: Sequence[NDArray], examples: Examples
) -> Interval:
    if isinstance(space, Numbers):
        told = order_codes(np.array([np.ravel(each)[0] for each in outputs]))
        true = order_codes(np.array(examples.targets, np.float64))
        return interval_of_choices(len(true), lambda chosen: spearman_of_codes(told[chosen], true[chosen]))
    assert isinstance(space, Classes | Labels)
    if isinstance(space, Labels):
        return _labels(name, np.array(outputs), np.array(examples.targets))
    pairs = [_counted(output, target) for output, target in zip(outputs, examples.targets, strict=True)]
    if name == "auc":
        return _area(pairs)
    if name == "accuracy":
        hits = [[int((told.argmax(axis=1) == true).sum()), len(true)] for told, true in pairs]
        return interval_of_sums(np.array(hits), lambda sums: float(sums[0] / sums[1]) if sums[1] else float("nan"))
    return _of_confusion(name, [(told.argmax(axis=1), true) for told, true in pairs], len(space.names))


def _of_confusion(name: MetricName, pairs: Sequence[tuple[NDArray, NDArray]], num_classes: int) -> Interval:
    """From one matrix a protein, or where those would fill the memory from one a resampling."""
    metric = _OF_CONFUSION[name]
    if len(pairs) * num_classes**2 <= _MOST_COUNTS:
        counts = np.stack([confusion(told, true, num_classes).ravel() for told, true in pairs])
        return interval_of_sums(counts, lambda sums: metric(sums.reshape(num_classes, num_classes)))

    def of_chosen(chosen: NDArray[np.intp]) -> float:
        told, true = (np.concatenate([pairs[at][side] for at in chosen]) for side in (0, 1))
        return metric(confusion(told, true, num_classes))

    return interval_of_choices(len(pairs), of_chosen)


def _counted(output: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    """Logits (N, C) and true classes (N,) of what is counted of a protein: itself, or some of its residues."""
    told_NC, true_N = np.atleast_2d(output), np.atleast_1d(target)
    is_counted_N = true_N != IGNORED
    return told_NC[is_counted_N], true_N[is_counted_N]


def _area(pairs: Sequence[tuple[NDArray, NDArray]]) -> Interval:
    """Of the second of two classes, over all that is counted together."""
    ends = np.cumsum([len(true) for _, true in pairs])[:-1]
    codes = np.split(order_codes(np.concatenate([told[:, 1] - told[:, 0] for told, _ in pairs])), ends)
    truths = [true == 1 for _, true in pairs]

    def area(chosen: NDArray[np.intp]) -> float:
        return area_of_codes(
            np.concatenate([codes[at] for at in chosen]), np.concatenate([truths[at] for at in chosen])
        )

    return interval_of_choices(len(pairs), area)


def _labels(name: MetricName, logits_UC: NDArray, true_UC: NDArray) -> Interval:
    """F1 and Matthews correlation over all decisions together; the area is the mean of those of labels."""
    if name == "auc":
        codes_UC = np.stack([order_codes(logits_U) for logits_U in logits_UC.T], axis=1)
        return interval_of_choices(len(true_UC), lambda chosen: _mean_area(codes_UC[chosen], true_UC[chosen]))
    told_UC = logits_UC > 0
    if name == "accuracy":
        hits = np.stack([(told_UC == true_UC).all(axis=1), np.ones(len(true_UC))], axis=1)
        return interval_of_sums(hits, lambda sums: float(sums[0] / sums[1]))
    counts = np.stack([confusion(told, true, 2).ravel() for told, true in zip(told_UC, true_UC, strict=True)])
    return interval_of_sums(counts, lambda sums: _OF_CONFUSION[name](sums.reshape(2, 2)))


def _mean_area(codes_UC: NDArray, true_UC: NDArray) -> float:
    areas = [area_of_codes(codes_UC[:, at], true_UC[:, at] == 1) for at in range(true_UC.shape[1])]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def _contacts(space: Contacts, outputs: Sequence[NDArray], examples: Examples) -> tuple[Measured, ...]:
    """The mean over proteins of L/5 precision in each range, and of L/1; proteins without pairs in it are left out."""
    wanted = [(f"L/5 {name}", 5, separation) for name, separation in RANGES.items()]
    wanted.insert(1, ("L/1 all", 1, RANGES["all"]))
    maps = [contact_map(xyz_L3, space.max_angstroms) for xyz_L3 in examples.targets]
    known = [~np.isnan(xyz_L3[:, 0]) for xyz_L3 in examples.targets]
    found = []
    for name, one_in, separation in wanted:
        each = [
            precision_at(scores_LL, contacts_LL, one_in, separation, known_L)
            for scores_LL, contacts_LL, known_L in zip(outputs, maps, known, strict=True)
        ]
        sums = np.array([(value, 1) for value in each if not np.isnan(value)]).reshape(-1, 2)
        found.append(
            Measured(name, interval_of_sums(sums, lambda sums: float(sums[0] / sums[1]) if sums[1] else np.nan))
        )
    return tuple(found)
