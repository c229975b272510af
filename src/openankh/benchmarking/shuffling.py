"""The control: labels permuted, so that nothing true can be learned of them; and what chance alone comes to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import RANGES
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.target_space import IGNORED, Contacts
from openankh.tasks.validation import score_of

_NUM_DRAWS = 5


def with_shuffled_labels(data: TaskData, seed: int) -> TaskData:
    """The task with the labels of training and, each for itself, of validation permuted; tests stay true.

    Were validation true, the best epoch would be chosen by true labels. Proteins exchange their labels, counted
    residues theirs among all residues of the split, and residues of a chain their coordinates.
    """
    unit = data.task.unit
    taught = {"train": shuffled(data.train, unit, seed), "valid": shuffled(data.valid, unit, seed)}
    return replace(data, splits={**data.splits, **taught})


def shuffled(examples: Examples, unit: str, seed: int) -> Examples:
    """The proteins with permuted targets."""
    generator = np.random.default_rng((seed, 1))
    if unit == "pair":
        targets = tuple(xyz_L3[generator.permutation(len(xyz_L3))] for xyz_L3 in examples.targets)
    elif unit == "residue":
        targets = _exchanged_residues(examples.targets, generator)
    else:
        targets = tuple(examples.targets[at] for at in generator.permutation(len(examples)))
    return replace(examples, targets=targets)


def _exchanged_residues(targets: Sequence[NDArray], generator: np.random.Generator) -> tuple[NDArray, ...]:
    classes_N = np.concatenate(targets)
    counted_N = classes_N != IGNORED
    classes_N[counted_N] = generator.permutation(classes_N[counted_N])
    return tuple(np.split(classes_N, np.cumsum([len(target) for target in targets])[:-1]))


def chance_of(data: TaskData, outputs: Sequence[NDArray], examples: Examples) -> float:
    """What these outputs come to by chance: measured on permuted targets, the mean of five permutations.

    Of contacts the share of all pairs that are ranked, the mean over chains.
    """
    if isinstance(data.space, Contacts):
        return _contact_share(data.space, examples)
    drawn = (shuffled(examples, data.task.unit, seed) for seed in range(_NUM_DRAWS))
    return float(np.mean([score_of(data.task.metric, data.space, outputs, each) for each in drawn]))


def _contact_share(space: Contacts, examples: Examples) -> float:
    shares = []
    for xyz_L3 in examples.targets:
        first, second = RANGES["all"].pairs(len(xyz_L3))
        known_L = ~np.isnan(xyz_L3[:, 0])
        is_ranked = known_L[first] & known_L[second]
        if is_ranked.any():
            shares.append(contact_map(xyz_L3, space.max_angstroms)[first, second][is_ranked].mean())
    return float(np.mean(shares)) if shares else float("nan")
