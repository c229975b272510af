"""Where a run reads and writes and how long it may take, and how it stands when its process ends."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openankh.errors import UserError
from openankh.pretraining.engine import Engine
from openankh.pretraining.trackers import Tracker


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and how long.

    `minutes` is the budget of the whole run, which its schedule is planned for; `slice_minutes` stops this process
    after so long with a checkpoint, to be resumed. `licence` (SPDX) is told of the model, `init` names the model whose
    weights a new run begins with; `trust_pickle` and `offline` say how that may be read and fetched. Where `init` is
    the folder of a run, `optimiser` "resumed" takes over its optimiser's state too. `log` is a tracker that is told
    every number, `changed_code` what is done about a run that other code began. `engine` is how steps are computed.
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
    optimiser: Literal["fresh", "resumed"] = "fresh"
    log: Tracker | None = None
    changed_code: Literal["tell", "refuse"] = "tell"
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        for option, minutes in (("--minutes", self.minutes), ("--slice-minutes", self.slice_minutes)):
            if minutes is not None and not 0 < minutes < math.inf:
                raise UserError(f"{option} {minutes}: give a number of minutes above 0")
        if self.optimiser == "resumed" and self.init is None and not self.resume:
            raise UserError("--optimiser resumed goes with --init RUN, the folder of the run whose optimiser it is")


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
