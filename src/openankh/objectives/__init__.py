"""What a model is trained to do: which residues are hidden (a mask) and how inputs and targets show it (a
presentation).

Both are frozen values, an objective is a pair of them, a mixture has several objectives, and nothing here reads a
global seed: the generator is an argument. Everything works on a packed batch at once, in numpy.
"""

from openankh.objectives.masks import Mask, RandomResidues, SeveralRates, Suffix
from openankh.objectives.mixture import Mixture, Share, Training, show
from openankh.objectives.objective import Objective
from openankh.objectives.presentations import (
    Continuation,
    Examples,
    PartialDemasking,
    Presentation,
    close,
    open_again,
    put_in_front,
)

__all__ = [
    "Continuation",
    "Examples",
    "Mask",
    "Mixture",
    "Objective",
    "PartialDemasking",
    "Presentation",
    "RandomResidues",
    "SeveralRates",
    "Share",
    "Suffix",
    "Training",
    "close",
    "open_again",
    "put_in_front",
    "show",
]
