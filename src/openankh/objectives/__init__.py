"""What a model is trained to do: which residues are hidden (a mask) and how inputs and targets show it (a
presentation).

Both are frozen values, an objective is a pair of them, a mixture has several objectives, and nothing here reads a
global seed: the generator is an argument. Everything works on a packed batch at once, in numpy.
"""

from openankh.objectives.bounds import most_hidden, most_targets
from openankh.objectives.masks import DistinctResidues, Mask, NGrams, RandomResidues, SeveralRates, Suffix
from openankh.objectives.mixture import Mixture, Share, Training, show
from openankh.objectives.objective import Objective
from openankh.objectives.presentations import (
    Continuation,
    Examples,
    FullReconstruction,
    MaskedAlone,
    MergedSpans,
    PartialDemasking,
    Presentation,
    close,
    has_sentinel_each,
    open_again,
    put_in_front,
)

__all__ = [
    "Continuation",
    "DistinctResidues",
    "Examples",
    "FullReconstruction",
    "Mask",
    "MaskedAlone",
    "MergedSpans",
    "Mixture",
    "NGrams",
    "Objective",
    "PartialDemasking",
    "Presentation",
    "RandomResidues",
    "SeveralRates",
    "Share",
    "Suffix",
    "Training",
    "close",
    "has_sentinel_each",
    "most_hidden",
    "most_targets",
    "open_again",
    "put_in_front",
    "show",
]
