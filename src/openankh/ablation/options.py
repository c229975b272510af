"""What an ablation compares, on what, with how much compute, and where it is kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openankh.errors import UserError
from openankh.pretraining.experiments import Identity, Scale

ProbeSize = Literal["quick", "full"]


@dataclass(frozen=True)
class AblationOptions:
    """Everything a caller chooses.

    `corpora` are those of the identities at which proteins are clustered: the one at "50" is always there, its
    validation split measures all experiments. `only` are experiments by name; None is all that have a corpus.
    `settings` are `key=value` changes of every recipe. The training FLOPs of each run are `flops`, or what the baseline
    takes in `minutes_each` here, or its recipe's own. Every experiment gets `seeds` runs, the baseline at least
    `baseline_seeds`, so that noise is known. `data` holds the probes' tasks; without it nothing is probed.
    """

    corpora: Mapping[Identity, Path]
    out: Path
    scale: Scale = "tiny"
    only: tuple[str, ...] | None = None
    settings: tuple[str, ...] = ()
    flops: float | None = None
    minutes_each: float | None = None
    seeds: int = 1
    baseline_seeds: int = 3
    data: Path | None = None
    probe_size: ProbeSize = "quick"
    device: str = "cpu"
    plot: bool = field(default=True)

    def __post_init__(self) -> None:
        for option, number in (("--flops", self.flops), ("--minutes-each", self.minutes_each)):
            if number is not None and not 0 < number < math.inf:
                raise UserError(f"{option} {number:g}: give a number above 0")
        if self.flops is not None and self.minutes_each is not None:
            raise UserError("--flops and --minutes-each both say how much compute a run gets; give one of them")
        for option, count in (("--seeds", self.seeds), ("--baseline-seeds", self.baseline_seeds)):
            if count < 1:
                raise UserError(f"{option} {count}: give at least 1")
        for setting in self.settings:
            if setting.partition("=")[0] in ("seed", "total_steps", "valid_every"):
                raise UserError(
                    f"setting {setting}: an ablation chooses it itself; see --seeds, --flops, --minutes-each"
                )
        if self.data is not None and not self.data.is_dir():
            raise UserError(f"--data {self.data}: no such folder; it holds the tasks on which embeddings are probed")
