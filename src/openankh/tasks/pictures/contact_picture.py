"""The picture of predicted contacts: the probability of every pair of residues, six apart or more.

L residues.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_precision import RANGES

MOST_RESIDUES = 2000


def draw_contacts(figure: Any, title: str, shares_LL: NDArray[np.float32]) -> None:
    """Draw on an empty figure of matplotlib; below the diagonal only the likeliest L pairs, as dots."""
    length = len(shares_LL)
    figure.set_size_inches(6.2, 5.6)
    axes = figure.subplots()
    first, second = RANGES["all"].pairs(length)
    shown_LL = np.full((length, length), np.nan, np.float32)
    shown_LL[first, second] = shares_LL[first, second]
    ends = (0.5, length + 0.5, length + 0.5, 0.5)
    image = axes.imshow(
        shown_LL, cmap="Blues", vmin=0, vmax=_strongest(shares_LL[first, second]), extent=ends, interpolation="nearest"
    )
    best = np.argsort(-shares_LL[first, second], kind="stable")[:length]
    axes.scatter(first[best] + 1, second[best] + 1, s=max(2.0, 400 / max(length, 1)), color="#1f3f77", linewidth=0)
    axes.plot([0.5, length + 0.5], [0.5, length + 0.5], color="#bbbbbb", linewidth=0.8)
    axes.set_xlabel("position")
    axes.set_ylabel("position")
    axes.set_title(f"{title}\nabove: probabilities; below: the {min(length, len(best)):,} likeliest pairs", fontsize=9)
    figure.colorbar(image, ax=axes, label="probability of a contact", shrink=0.8)


def _strongest(shares_N: NDArray[np.float32]) -> float:
    """The probability in the darkest colour: weak predictions are shown too, and the scale says how weak they are."""
    return max(0.1, float(np.percentile(shares_N, 99.9))) if shares_N.size else 1.0
