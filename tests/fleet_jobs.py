"""Stand-ins for a model, for tests of the workers around it: quick, exact, and able to fail as machines do."""

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding_samples import provenance
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.fleet.job import Job, Setup
from openankh.store import ShardLimits

WIDTH = 6
OPTIONS = EmbedOptions()
LIMITS = ShardLimits(num_residues=300)


def vector_of(record: Record) -> NDArray[np.float32]:
    """What the stand-in makes of a protein."""
    places = np.arange(len(record.sequence) * WIDTH, dtype=np.float32).reshape(-1, WIDTH)
    letters = np.frombuffer(record.sequence.encode(), np.uint8)[:, None]
    return (letters * np.float32(1 / 16) + places % 7).mean(0, dtype=np.float32)


@dataclass(frozen=True)
class StandIn:
    """Has what workers ask of an embedder; three records at a time, and one in three had been computed before."""

    job: "StandInJob"
    device: str
    counts: list[int] = field(default_factory=lambda: [0])
    max_tokens = 7

    def remember_budget(self) -> None:
        """Nothing was learned."""

    @property
    def num_reused(self) -> int:
        return self.counts[0]

    num_residues_reused = num_overflowed = num_halvings = 0

    def batches(self, records: Iterable[Record]) -> Iterator[list[tuple[Record, NDArray[np.floating]]]]:
        records = list(records)
        for start in range(0, len(records), 3):
            batch = records[start : start + 3]
            self.counts[0] += len(batch) // 3
            for record in batch:
                self.job.meet(record, self.device)
            yield [(record, vector_of(record)) for record in batch]


@dataclass(frozen=True)
class StandInJob(Job):
    """Needs no torch. `deadly` names a record at which a worker dies, `num_deaths` times in all, counted in the folder
    `deaths`; `refused` one that its user is to blame for, `broken` one at which the code fails; `odd_device` computes
    in bf16.
    """

    model: str = "stand-in"
    options: EmbedOptions = OPTIONS
    limits: ShardLimits | None = LIMITS
    deadly: str = ""
    num_deaths: int = 1
    deaths: str = ""
    refused: str = ""
    broken: str = ""
    deadly_start: bool = False
    odd_device: str = ""

    def load(self, device: str, num_threads: int) -> tuple[Any, Setup]:
        assert num_threads >= 1
        if self.deadly_start:
            os.kill(os.getpid(), signal.SIGKILL)
        made = replace(provenance("mean", "fp32"), input_sha256=None)
        assert self.limits is not None
        found = replace(made, precision="bf16") if device == self.odd_device else made
        return StandIn(self, device), Setup(found, self.limits)

    def meet(self, record: Record, device: str) -> None:
        """Fail at a record, if it is the one."""
        if record.id == self.refused:
            raise UserError(f"record {record.id!r}: not to be embedded on {device}")
        if record.id == self.broken:
            raise ZeroDivisionError("the code is broken")
        if record.id == self.deadly and self._may_die():
            os.kill(os.getpid(), signal.SIGKILL)

    def _may_die(self) -> bool:
        for number in range(self.num_deaths):
            try:
                (Path(self.deaths) / f"death-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


def write_proteins(path: Path, number: int = 60) -> list[Record]:
    """A FASTA file of proteins of 20 to 139 residues, ids repeating and odd ones among them."""
    letters = np.random.default_rng(7)
    lines, records = [], []
    for place in range(number):
        sequence = "".join(letters.choice(list("ACDEFGHIKLMNPQRSTVWY"), 20 + 17 * place % 120))
        name = "twice" if place % 20 == 3 else f"P{place}/ü"
        records.append(Record(name, "", sequence, 2 * place + 1))
        lines.append(f">{name} described\n{sequence}\n")
    path.write_text("".join(lines))
    return records
