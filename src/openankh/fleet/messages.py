"""What a process and its workers tell each other."""

from dataclasses import dataclass

from openankh.fleet.job import Failed, Job, Setup
from openankh.fleet.landing import Landed


@dataclass(frozen=True)
class Start:
    """To a new worker: what to do, where, with how many threads, and whether it is the first, which tells notices.

    The landing follows, then parts until the end.
    """

    job: Job
    device: str
    num_threads: int
    is_first: bool


@dataclass(frozen=True)
class Ready:
    """From a worker whose model is loaded."""

    setup: Setup


@dataclass(frozen=True)
class Progress:
    """From a worker: so many proteins and residues of its part `number` are embedded."""

    number: int
    num_records: int
    num_residues: int


FromWorker = Ready | Progress | Landed | Failed
