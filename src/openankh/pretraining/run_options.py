"""Where a run reads and writes and how long it may take, and how it stands when its process ends."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from openankh.errors import UserError
from openankh.pretraining.engine import Engine


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and how long.

    `minutes` is the budget of the whole run, which its schedule is planned for; `slice_minutes` stops this process
    after so long with a checkpoint, to be resumed. `licence` (SPDX) is told of the model, `init` names the model whose
    weights a new run begins with; `trust_pickle` and `offline` say how that may be read and fetched. `engine` is how
    steps are computed.
    """

    corpus: Path
    out: Path
    resume: bool = False
    minutes: float | None = None
    slice_minutes: float | None = None
    device: str = "cpu"
    licence: str = ""
    init: str | None = None
    trust_pickle: bool = False
    offline: bool = False
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        for option, minutes in (("--minutes", self.minutes), ("--slice-minutes", self.slice_minutes)):
            if minutes is not None and not 0 < minutes < math.inf:
                raise UserError(f"{option} {minutes}: give a number of minutes above 0")


@dataclass(frozen=True)
class Summary:
    """How a run stands when its process ends; `perplexity` is that of hidden residues of the validation split."""

    run: Path
    finished: bool
    step: int
    total_steps: int | None
    residues: int
    tokens: int
    minutes: float
    valid_loss: float | None
    perplexity: float | None
    best: Path | None
