"""A task's deciding metric over resampled proteins, drawn alike for everybody: so two can be compared pair by pair.

L residues, C classes or labels, U proteins, R resamplings.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import precision_at
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.metrics import area_of_codes, confusion, f1, matthews_correlation, order_codes, spearman_of_codes
from openankh.tasks.target_space import IGNORED, Contacts, Labels, Numbers
from openankh.tasks.validation import score_of

NUM_DRAWS = 1_000
_MOST_COUNTS = 1 << 24

Scored = Callable[[NDArray[np.intp]], float]
"""The metric of the proteins chosen, some of them several times."""


def draws_of(data: TaskData, outputs: Sequence[NDArray], examples: Examples) -> NDArray[np.float64]:
    """The deciding metric of each resampling (R,); the same proteins are drawn for any outputs of these examples."""
    scored = _scored(data, outputs, examples)
    generator = np.random.default_rng(0)
    num = len(examples)
    return np.array([scored(generator.integers(num, size=num)) for _ in range(NUM_DRAWS)])


def _scored(data: TaskData, outputs: Sequence[NDArray], examples: Examples) -> Scored:
    metric, space = data.task.metric, data.space
    if isinstance(space, Contacts):
        each_U = np.array(
            [
                precision_at(scores_LL, contact_map(xyz_L3, space.max_angstroms), known_L=~np.isnan(xyz_L3[:, 0]))
                for scores_LL, xyz_L3 in zip(outputs, examples.targets, strict=True)
            ]
        )
        return lambda chosen: float(np.nanmean(each_U[chosen])) if not np.isnan(each_U[chosen]).all() else np.nan
    if isinstance(space, Numbers):
        told_U = order_codes(np.array([np.ravel(each)[0] for each in outputs]))
        true_U = order_codes(np.array(examples.targets, np.float64))
        return lambda chosen: spearman_of_codes(told_U[chosen], true_U[chosen])
    if _is_costly(data, len(examples)) or (isinstance(space, Labels) and metric not in ("f1", "mcc")):
        return lambda chosen: score_of(metric, space, [outputs[at] for at in chosen], examples.at(chosen.tolist()))
    if isinstance(space, Labels):
        pairs = [((told > 0).astype(np.int64), true) for told, true in zip(outputs, examples.targets, strict=True)]
        return _of_sums(metric, pairs, 2)
    counted = [_counted(told, true) for told, true in zip(outputs, examples.targets, strict=True)]
    if metric == "auc":
        return _area(counted)
    return _of_sums(metric, [(told_NC.argmax(axis=1), true_N) for told_NC, true_N in counted], data.space.num_outputs)


def _is_costly(data: TaskData, num_proteins: int) -> bool:
    """Whether one matrix of counts a protein would fill the memory."""
    return data.task.metric in ("f1", "mcc") and num_proteins * data.space.num_outputs**2 > _MOST_COUNTS


def _counted(output: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    told_NC, true_N = np.atleast_2d(output), np.atleast_1d(target)
    is_counted_N = true_N != IGNORED
    return told_NC[is_counted_N], true_N[is_counted_N]


def _of_sums(metric: str, pairs: Sequence[tuple[NDArray, NDArray]], num_classes: int) -> Scored:
    """Of metrics that are functions of sums over proteins."""
    if metric == "accuracy":
        sums_U2 = np.array([((told == true).sum(), len(true)) for told, true in pairs], np.float64)

        def share(chosen: NDArray[np.intp]) -> float:
            right, num = sums_U2[chosen].sum(axis=0)
            return float(right / num) if num else float("nan")

        return share
    of_counts = matthews_correlation if metric == "mcc" else f1
    counts_UCC = np.stack([confusion(told, true, num_classes) for told, true in pairs])
    return lambda chosen: of_counts(counts_UCC[chosen].sum(axis=0))


def _area(pairs: Sequence[tuple[NDArray, NDArray]]) -> Scored:
    ends = np.cumsum([len(true) for _, true in pairs])[:-1]
    codes = np.split(order_codes(np.concatenate([told[:, 1] - told[:, 0] for told, _ in pairs])), ends)
    truths = [true == 1 for _, true in pairs]
    return lambda chosen: area_of_codes(
        np.concatenate([codes[at] for at in chosen]), np.concatenate([truths[at] for at in chosen])
    )
