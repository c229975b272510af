"""How long the targets of a protein can become under an objective: known from its length before anything is drawn."""

import numpy as np
from numpy.typing import NDArray

from openankh.objectives.masks import Mask, NGrams, RandomResidues, SeveralRates, Suffix
from openankh.objectives.mixture import Training
from openankh.objectives.objective import Objective
from openankh.objectives.presentations import Continuation, FullReconstruction, MaskedAlone


def most_targets(training: Training, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most target tokens, `</s>` included, that proteins of these lengths can get, (B,), whatever their task."""
    return np.max([_most_of_task(task, lengths) for task in training.tasks], axis=0)


def _most_of_task(task: Objective, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    hidden = most_hidden(task.mask, lengths)
    match task.presentation:
        case FullReconstruction():
            return lengths + 1
        case MaskedAlone() | Continuation():
            return hidden + 1
        case _:
            return 2 * hidden + 1  # at worst a sentinel for each


def most_hidden(mask: Mask, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most residues of proteins of these lengths that a mask can hide, (B,)."""
    match mask:
        case RandomResidues(exact=True):
            return mask.count(lengths)
        case SeveralRates():
            return RandomResidues(max(mask.rates)).count(lengths)
        case NGrams():
            num_grams = RandomResidues(mask.rate).count(-(-lengths // mask.length))
            return np.minimum(lengths, num_grams * mask.length)
        case Suffix():
            return np.maximum(1, lengths - np.floor(lengths * mask.earliest).astype(np.int64))
        case _:
            return lengths
