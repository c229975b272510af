"""What is to be written for one encoder input, and what was."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.generation.script import Script


@dataclass(frozen=True, eq=False)
class Job:
    """`num` results for what the encoder reads, `inputs` (S,); the n-th drawn one is number `first_sample` + n.

    Chance depends on the seed, the number and the place of a choice, which is counted from `first_choice` on.
    """

    inputs: NDArray[np.integer]
    script: Script
    num: int = 1
    seed: int = 0
    first_sample: int = 0
    first_choice: int = 0


@dataclass(frozen=True, eq=False)
class Written:
    """The tokens chosen (n,), without a closing `</s>`, and each one's log-probability before any warping.

    `ended`: whether `</s>` was chosen; `end_log_prob` is its log-probability. `score` ranks the hypotheses of a search
    with beams: warped log-probability, `</s>` included, by length; of others it is the sum of the log-probabilities.
    """

    tokens: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    ended: bool
    score: float
    end_log_prob: float | None = None
