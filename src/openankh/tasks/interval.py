"""Bootstrap intervals: how far a metric would move had other proteins been drawn.

Whole proteins are resampled, since the residues of one do not stand alone. U proteins, K sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES, NUM_COSTLY_RESAMPLES = 10_000, 1_000
_DRAWN_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval over resampled proteins; `num` proteins were measured."""

    value: float
    low: float
    high: float
    num: int


def interval_of_sums(tallies_UK: NDArray[np.number], metric: Callable[[NDArray], float], seed: int = 0) -> Interval:
    """Of a metric that is a function of sums (K,) over proteins, such as counts of a confusion matrix."""
    num = len(tallies_UK)
    if not num:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    tallies = tallies_UK.astype(np.float64)
    generator = np.random.default_rng(seed)
    at_once = max(_DRAWN_AT_ONCE // max(num, 1), 1)
    values = []
    for start in range(0, NUM_RESAMPLES, at_once):
        count = min(at_once, NUM_RESAMPLES - start)
        draws = generator.integers(num, size=(count, num)) + np.arange(count)[:, None] * num
        times_RU = np.bincount(draws.ravel(), minlength=count * num).reshape(count, num)
        values += [metric(sums) for sums in times_RU @ tallies]
    return _interval(metric(tallies.sum(axis=0)), values, num)


def interval_of_choices(num: int, metric: Callable[[NDArray[np.intp]], float], seed: int = 0) -> Interval:
    """Of any metric, a function of the numbers of the proteins chosen."""
    generator = np.random.default_rng(seed)
    values = [metric(generator.integers(num, size=num)) for _ in range(NUM_COSTLY_RESAMPLES)]
    return _interval(metric(np.arange(num)), values, num)


def _interval(value: float, values: list[float], num: int) -> Interval:
    known = [each for each in values if not np.isnan(each)]
    low, high = np.percentile(known, (2.5, 97.5)) if known else (float("nan"), float("nan"))
    return Interval(value, float(low), float(high), num)
