"""What came of a trial: two small JSON files in its folder, each written whole when its part is done.

result.json ends the training (losses, cost), probes.json the downstream probes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.tasks.quick_probes import ProbeScore

RESULT_NAME, PROBES_NAME = "result.json", "probes.json"


@dataclass(frozen=True)
class Losses:
    """On the validation proteins common to all, nats a residue.

    `own` is that of the residues in the targets of its own objective, `masked` that of the `num_masked` residues that
    are hidden from all alike (see `masked_loss`).
    """

    own: float
    masked: float
    num_masked: int


@dataclass(frozen=True)
class Result:
    """How a trial ended; `flops` are the training FLOPs of the steps taken. An untrained control has no recipe."""

    name: str
    seed: int
    what: str
    paper_average: float | None
    recipe: Mapping[str, Any] | None
    num_parameters: int
    steps: int
    residues: int
    flops: int
    minutes: float
    losses: Losses


@dataclass(frozen=True)
class Probes:
    """The scores of a model's frozen embeddings, and the size of the probes (see `quick_probes`)."""

    size: str
    scores: tuple[ProbeScore, ...]

    @property
    def average(self) -> float:
        """The plain mean over the tasks, as the paper's."""
        return sum(score.value for score in self.scores) / len(self.scores)


def write_result(folder: Path, result: Result) -> None:
    """Write what the training came to."""
    write_file_atomically(folder / RESULT_NAME, json.dumps(asdict(result), indent=2) + "\n")


def read_result(folder: Path) -> Result | None:
    """What the training came to; None while it has not ended."""
    if not (folder / RESULT_NAME).exists():
        return None
    content = read_json_object(folder / RESULT_NAME)
    try:
        return Result(**{**content, "losses": Losses(**content["losses"])})
    except (KeyError, TypeError):
        raise _damaged(folder / RESULT_NAME) from None


def write_probes(folder: Path, probes: Probes) -> None:
    """Write what the probes came to."""
    write_file_atomically(folder / PROBES_NAME, json.dumps(asdict(probes), indent=2) + "\n")


def read_probes(folder: Path) -> Probes | None:
    """What the probes came to; None where there were none."""
    if not (folder / PROBES_NAME).exists():
        return None
    content = read_json_object(folder / PROBES_NAME)
    try:
        return Probes(content["size"], _scores(content["scores"]))
    except (KeyError, TypeError):
        raise _damaged(folder / PROBES_NAME) from None


def _scores(rows: Sequence[Mapping[str, Any]]) -> tuple[ProbeScore, ...]:
    return tuple(ProbeScore(**row) for row in rows)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: damaged; remove it, and its part of the trial is done again")
