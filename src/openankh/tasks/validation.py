"""How good outputs are by the one metric that chooses the best epoch: a number without an interval, quickly had.

C classes or labels.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import precision_at
from openankh.tasks.examples import Examples
from openankh.tasks.metrics import (
    accuracy,
    area_under_curve,
    confusion,
    f1,
    matthews_correlation,
    spearman,
)
from openankh.tasks.target_space import IGNORED, Classes, Contacts, Labels, Numbers, TargetSpace
from openankh.tasks.task import MetricName


def score_of(metric: MetricName, space: TargetSpace, outputs: Iterable[NDArray], examples: Examples) -> float:
    """The same value as `evaluate` gives; outputs as there, taken one protein at a time. It may be not a number."""
    if isinstance(space, Contacts):
        return _contact_score(space, outputs, examples)
    if isinstance(space, Numbers):
        told = np.array([np.ravel(each)[0] for each in outputs])
        return spearman(told, np.array(examples.targets, np.float64))
    if isinstance(space, Labels):
        return _label_score(metric, np.array(list(outputs)), np.array(examples.targets))
    assert isinstance(space, Classes)
    return _class_score(metric, space, outputs, examples)


def _class_score(metric: MetricName, space: Classes, outputs: Iterable[NDArray], examples: Examples) -> float:
    told, true = [], []
    for output, target in zip(outputs, examples.targets, strict=True):
        logits_NC, true_N = np.atleast_2d(output), np.atleast_1d(target)
        is_counted_N = true_N != IGNORED
        logits_NC = logits_NC[is_counted_N]
        told.append(logits_NC[:, 1] - logits_NC[:, 0] if metric == "auc" else logits_NC.argmax(axis=1))
        true.append(true_N[is_counted_N])
    told_N, true_N = np.concatenate(told), np.concatenate(true)
    if metric == "auc":
        return area_under_curve(told_N, true_N == 1)
    return _of_counts(metric, confusion(told_N, true_N, len(space.names)))


def _label_score(metric: MetricName, logits_UC: NDArray, true_UC: NDArray) -> float:
    if metric == "auc":
        areas = [
            area_under_curve(logits_U, true_U == 1) for logits_U, true_U in zip(logits_UC.T, true_UC.T, strict=True)
        ]
        known = [area for area in areas if not np.isnan(area)]
        return float(np.mean(known)) if known else float("nan")
    told_UC = logits_UC > 0
    if metric == "accuracy":
        return float((told_UC == true_UC).all(axis=1).mean())
    return _of_counts(metric, confusion(told_UC.ravel().astype(np.int64), true_UC.ravel(), 2))


def _of_counts(metric: MetricName, counts_CC: NDArray) -> float:
    if not counts_CC.sum():
        return float("nan")
    if metric == "accuracy":
        return accuracy(counts_CC)
    return matthews_correlation(counts_CC) if metric == "mcc" else f1(counts_CC)


def _contact_score(space: Contacts, outputs: Iterable[NDArray], examples: Examples) -> float:
    each = [
        precision_at(scores_LL, contact_map(xyz_L3, space.max_angstroms), known_L=~np.isnan(xyz_L3[:, 0]))
        for scores_LL, xyz_L3 in zip(outputs, examples.targets, strict=True)
    ]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
