"""Smaller data for quick trials: proteins drawn from each split, always the same ones."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from openankh.tasks.examples import Examples, TaskData


def limited(data: TaskData, limit: int | None, train_limit: int | None) -> TaskData:
    """The data with at most `limit` proteins of each split, and of the training split at most `train_limit`."""
    splits: Mapping[str, Examples] = {
        name: _drawn(part, min(_or_all(limit, part), _or_all(train_limit if name == "train" else None, part)))
        for name, part in data.splits.items()
    }
    return replace(data, splits=splits)


def _or_all(number: int | None, part: Examples) -> int:
    return len(part) if number is None else number


def _drawn(part: Examples, number: int) -> Examples:
    """So many of the proteins, in their order."""
    if number >= len(part):
        return part
    chosen = np.random.default_rng(0).permutation(len(part))[:number]
    return part.at(np.sort(chosen).tolist())
