"""Pieces of work with a name: each request's, kept when it is to be asked for later; progress, result, cancel.

Every request to the model is a job. One that a client waits for is forgotten when it is answered, and cancelled when
the client leaves; one that runs in the background keeps its result for a while. Everything here runs in the event loop.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from openankh.serve.answers import Answer
from openankh.serve.engine import BusyError
from openankh.serve.problems import Problem, problem_of
from openankh.serve.settings import Limits

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_BYTES_A_NUMBER = 4


class StoppedError(Exception):
    """Nobody wants this piece of work any more."""


@dataclass(eq=False)
class Progress:
    """How far a piece of work is; written by whoever does it, read by anyone. `is_cancelled`: it is not wanted."""

    done: int = 0
    total: int = 0
    is_cancelled: bool = False

    def reach(self, done: int, total: int) -> None:
        """So many of so many; raises StoppedError in the thread that does the work when nobody wants it any more."""
        self.done, self.total = done, total
        if self.is_cancelled:
            raise StoppedError


Work = Callable[[Progress], Awaitable[Answer]]


@dataclass(eq=False)
class Job:
    """One piece of work."""

    id: str
    kind: str
    created: float = field(default_factory=time.time)
    ended: float | None = None
    state: State = "waiting"
    progress: Progress = field(default_factory=Progress)
    answer: Answer | None = None
    problem: Problem | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def num_bytes(self) -> int:
        """About what its result takes."""
        return self.answer.num_numbers * _BYTES_A_NUMBER if self.answer else 0

    def cancel(self) -> None:
        """Stop it, if it has not ended."""
        self.progress.is_cancelled = True
        if self.task is not None and self.state not in ENDED:
            self.task.cancel()


class Jobs:
    """The jobs of a server, found by their ids, which are random and mean nothing."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, Job] = OrderedDict()
        self._at_work: set[Job] = set()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_at_work(self) -> int:
        """Jobs that have not ended."""
        return len(self._at_work)

    def start(self, kind: str, work: Work, *, kept: bool) -> Job:
        """Begin a piece of work; BusyError where too many are kept that have not ended."""
        job = Job(secrets.token_urlsafe(16), kind)
        if kept:
            self._make_room()
            self._kept[job.id] = job
        self._at_work.add(job)
        job.task = asyncio.get_running_loop().create_task(self._run(job, work))
        return job

    def keep(self, job: Job) -> None:
        """Keep one that was to be forgotten."""
        self._make_room()
        self._kept[job.id] = job

    def find(self, job_id: str) -> Job:
        """The job of that id; Problem 404 where there is none (any more)."""
        self._forget_old()
        if job_id not in self._kept:
            raise Problem(404, "no such job: it never was, its time is over, or the server was started anew")
        return self._kept[job_id]

    def remove(self, job_id: str) -> Job:
        """Cancel and forget a job."""
        job = self.find(job_id)
        job.cancel()
        del self._kept[job_id]
        return job

    async def drain(self, seconds: float) -> None:
        """Wait until no job is at work, at most so long; cancel the rest."""
        tasks = [job.task for job in self._at_work if job.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for job in list(self._at_work):
                job.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    async def _run(self, job: Job, work: Work) -> None:
        job.state = "running"
        try:
            job.answer = await work(job.progress)
            job.state = "done"
        except (asyncio.CancelledError, StoppedError):
            job.state = "cancelled"
            job.progress.is_cancelled = True
        except Exception as error:
            job.problem, job.state = problem_of(error), "failed"
        finally:
            job.ended = time.time()
            self._at_work.discard(job)
            self._forget_large()

    def _make_room(self) -> None:
        self._forget_old()
        while len(self._kept) >= self._limits.kept_jobs:
            ended = next((job for job in self._kept.values() if job.state in ENDED), None)
            if ended is None:
                raise BusyError(5, "too many jobs are under way")
            del self._kept[ended.id]

    def _forget_old(self) -> None:
        oldest = time.time() - self._limits.kept_seconds
        for job in [job for job in self._kept.values() if job.ended is not None and job.ended < oldest]:
            del self._kept[job.id]

    def _forget_large(self) -> None:
        """The oldest results go when all together take too much; the newest stays."""
        ended = [job for job in self._kept.values() if job.state in ENDED]
        total = sum(job.num_bytes for job in ended)
        for job in ended[:-1]:
            if total <= self._limits.kept_bytes:
                return
            total -= job.num_bytes
            del self._kept[job.id]
