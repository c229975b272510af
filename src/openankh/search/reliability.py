"""How far a neighbour's label can be trusted, told from the proteins searched themselves.

Each labelled protein in turn is taken for a query: how often does its neighbour at such a distance have its label?
Pairs are put in order of distance, in bins of at least MIN_PAIRS; shares that rise with the distance are averaged
(isotonic regression), since a farther neighbour is never better evidence. P pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_PAIRS = 100
"""A share of so many errs by five hundredths or so; fewer would let chance look like certainty at the near end."""


@dataclass(frozen=True)
class Reliability:
    """The share of labelled neighbours at about this distance that had the label, and how many were looked at.

    None of 0 where nothing is known: no labelled pair, or none as far away as this.
    """

    share: float | None
    num_pairs: int


UNKNOWN = Reliability(None, 0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Shares that do not rise with the distance: of each step its farthest distance, share and number of pairs."""

    farthest: NDArray[np.float64]
    shares: NDArray[np.float64]
    num_pairs: NDArray[np.int64]

    def at(self, distance: float) -> Reliability:
        """What is known of a neighbour at this distance."""
        step = int(np.searchsorted(self.farthest, distance, "left"))
        if step == len(self.farthest) or np.isnan(distance):
            return UNKNOWN
        return Reliability(float(self.shares[step]), int(self.num_pairs[step]))


def calibrate(distances_P: NDArray[np.float64], agrees_P: NDArray[np.bool_]) -> Calibration:
    """The calibration by these pairs: how far apart, and whether the labels agree."""
    order = np.argsort(distances_P, kind="stable")
    distances, agrees = distances_P[order], agrees_P[order]
    ends = _bin_ends(distances)
    nums = np.diff(ends, prepend=0)
    hits = np.diff(np.concatenate([[0], np.cumsum(agrees)])[ends], prepend=0)
    steps = _isotonic(hits.tolist(), nums.tolist())
    nums_of_steps = np.array([num for _, num in steps], np.int64)
    shares = np.array([hits / num for hits, num in steps], np.float64)
    return Calibration(distances[np.cumsum(nums_of_steps) - 1], shares, nums_of_steps)


def _bin_ends(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where each bin ends, of sorted pairs: MIN_PAIRS or more each, equal distances together."""
    num = len(distances)
    ends: list[int] = []
    while not ends or ends[-1] < num:
        start = ends[-1] if ends else 0
        if num == 0:
            break
        end = min(start + MIN_PAIRS, num)
        end = int(np.searchsorted(distances, distances[end - 1], "right"))
        ends.append(num if num - end < MIN_PAIRS else end)
    return np.array(ends, np.int64)


def _isotonic(hits: list[int], nums: list[int]) -> list[tuple[int, int]]:
    """Bins (hits, pairs) pooled with their neighbours until shares do not rise from one to the next."""
    steps: list[tuple[int, int]] = []
    for step in zip(hits, nums, strict=True):
        while steps and step[0] * steps[-1][1] >= steps[-1][0] * step[1]:
            last = steps.pop()
            step = (last[0] + step[0], last[1] + step[1])
        steps.append(step)
    return steps
