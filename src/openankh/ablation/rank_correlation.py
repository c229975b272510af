"""Spearman's rank correlation of few pairs, with what chance alone would give. N pairs, R resamples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's `rho` over `num_pairs`; `low` and `high` bound 95 % of bootstrap resamples of the pairs.

    `chance` is the share of random orders that correlate at least as strongly, in either direction.
    """

    rho: float
    low: float
    high: float
    chance: float
    num_pairs: int


def rank_correlation(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> RankCorrelation | None:
    """Of two values each (N,); None for fewer than four pairs, or where one side is all the same."""
    if len(ours) < 4 or len(set(ours.tolist())) < 2 or len(set(theirs.tolist())) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    a_1N, b_1N = _centred_ranks(ours[None]), _centred_ranks(theirs[None])
    rho = float(_pearson(a_1N, b_1N)[0])
    drawn_RN = rng.integers(0, len(ours), (NUM_RESAMPLES, len(ours)))
    bootstrap = _pearson(_centred_ranks(ours[drawn_RN]), _centred_ranks(theirs[drawn_RN]))
    low, high = np.nanpercentile(bootstrap, (2.5, 97.5))
    by_chance = np.abs(_pearson(rng.permuted(np.repeat(a_1N, NUM_RESAMPLES, axis=0), axis=1), b_1N))
    chance = (np.sum(by_chance >= abs(rho) - 1e-12) + 1) / (NUM_RESAMPLES + 1)
    return RankCorrelation(rho, float(low), float(high), float(chance), len(ours))


def _pearson(a_RN: NDArray[np.floating], b_RN: NDArray[np.floating]) -> NDArray[np.float64]:
    """The correlation of values about their mean, (R,); NaN where a resample is all the same."""
    scale = np.sqrt((a_RN**2).sum(1) * (b_RN**2).sum(1))
    return np.divide((a_RN * b_RN).sum(1), scale, out=np.full(len(a_RN), np.nan), where=scale > 0)


def _centred_ranks(values_RN: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks about their mean, equals sharing the mean of theirs."""
    below = (values_RN[:, None, :] < values_RN[:, :, None]).sum(2)
    above = (values_RN[:, None, :] > values_RN[:, :, None]).sum(2)
    return (below - above) / 2
