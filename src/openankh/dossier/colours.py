"""Colours that most people can tell apart, whatever their sight: for scores, probabilities and groups."""

import numpy as np
from numpy.typing import NDArray

_DIVERGING = np.array(
    [(127, 59, 8), (179, 88, 6), (224, 130, 20), (253, 184, 99), (254, 224, 182), (247, 247, 247),
     (209, 229, 240), (146, 197, 222), (67, 147, 195), (33, 102, 172), (5, 48, 97)], float
)  # fmt: skip
"""From brown (the model expects the variant less) over near white to blue (more): no red beside green."""

_SEQUENTIAL = np.array(
    [(255, 255, 255), (222, 235, 247), (158, 202, 225), (66, 146, 198), (8, 81, 156), (8, 48, 107)], float
)

GROUPS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6bb3", "#8c6d1f", "#4d4d4d", "#9aa51a")
"""Of groups: Okabe and Ito's, and four more."""

OTHERS = "#9a9a9a"


def diverging(values: NDArray[np.floating], limit: float) -> NDArray[np.uint8]:
    """Colours (..., 3) of values from -limit to limit, those beyond at its ends."""
    return _between(_DIVERGING, (np.clip(values / limit, -1, 1) + 1) / 2)


def sequential(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours (..., 3) of values from 0 to 1, darker for more."""
    return _between(_SEQUENTIAL, np.clip(values, 0, 1))


def _between(stops_S3: NDArray[np.floating], shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    places = shares * (len(stops_S3) - 1)
    found = [np.interp(places, np.arange(len(stops_S3)), stops_S3[:, colour]) for colour in range(3)]
    return np.stack(found, axis=-1).round().astype(np.uint8)
