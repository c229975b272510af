"""All parts of a running server in one value, and how a route turns a piece of work into an answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from fastapi import Request
from starlette.responses import Response

from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.serve.answers import MEDIA_TYPES, Form, rendered, wanted_form
from openankh.serve.engine import BusyError, Engine, give_way
from openankh.serve.job_messages import job_body
from openankh.serve.jobs import Job, Jobs, Progress, Work
from openankh.serve.meters import Meters
from openankh.serve.model_host import ModelHost
from openankh.serve.predictors import ServedPredictor
from openankh.serve.problems import Problem
from openankh.serve.searching import ServedProteins
from openankh.serve.settings import Settings
from openankh.serve.waiting import Array

Result = TypeVar("Result")

_SMALL = 20_000
"""Numbers that are turned into bytes in the event loop, for handing them to a thread would take longer."""
_NICENESS = 10


@dataclass(eq=False)
class Serving:
    """A server's parts: `app.state.serving`, and in routes `serving_of(request)`.

    `tasks` is the one thread for work on the model that is not a batch of proteins (scores, completions), `quick` two
    for what takes milliseconds (heads, neighbours): their proteins come through `engine`, with everybody's.
    `predictors` and `searched` are by the names they are served under.
    """

    settings: Settings
    model: ModelHost
    engine: Engine
    jobs: Jobs
    meters: Meters
    predictors: Mapping[str, ServedPredictor]
    searched: Mapping[str, ServedProteins]
    tasks: ThreadPoolExecutor
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "openankh-quick"))
    num_tasks: int = 0

    async def embed(self, records: Sequence[Record], options: EmbedOptions, progress: Progress) -> list[Array]:
        """The arrays of these proteins, computed in batches with those of others; cancelled with the caller."""
        progress.total = len(records)
        return await asyncio.wrap_future(self.engine.submit(records, options, _told(progress)))

    async def run_task(self, work: Callable[[], Result]) -> Result:
        """Run work in the thread for tasks, one after another; BusyError where too much waits for it."""
        if self.num_tasks >= self.settings.limits.waiting_tasks:
            raise BusyError(5, "too many tasks wait")
        self.num_tasks += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.tasks, work)
        finally:
            self.num_tasks -= 1

    async def run_quick(self, work: Callable[[], Result]) -> Result:
        """Run work that takes milliseconds and leaves the model alone."""
        return await asyncio.get_running_loop().run_in_executor(self.quick, work)

    def stop(self) -> None:
        """Let go of the threads; what waits for them is dropped."""
        for pool in (self.tasks, self.quick):
            pool.shutdown(wait=False, cancel_futures=True)


def task_thread(num_cores: int | None) -> ThreadPoolExecutor:
    """One thread that works on so many cores, and gives way to those who answer."""
    return ThreadPoolExecutor(1, "openankh-task", initializer=_settle, initargs=(num_cores,))


def _settle(num_cores: int | None) -> None:
    give_way(_NICENESS)
    if num_cores is not None:
        torch.set_num_threads(num_cores)


def _told(progress: Progress) -> Callable[[int, int], None]:
    """What writes down how far it is; it never raises, for the model's thread calls it."""

    def told(done: int, total: int) -> None:
        progress.done, progress.total = done, total

    return told


def serving_of(request: Request) -> Serving:
    """The server that a request came to."""
    return request.app.state.serving


async def answer(request: Request, kind: str, work: Work) -> Response:
    """Do a piece of work for a request.

    With `Prefer: respond-async`, or when it takes longer than the limit `answer_seconds`, the answer is 202 with a
    job's id. A client that leaves before takes its work with it.
    """
    serving = serving_of(request)
    form = wanted_form(request.headers.get("accept"))
    if serving.engine.is_full:
        raise BusyError(serving.engine.retry_after, "too much work waits")
    if _is_background(request):
        return accepted(serving.jobs.start(kind, work, kept=True))
    job = serving.jobs.start(kind, work, kept=False)
    assert job.task is not None
    gone = asyncio.get_running_loop().create_task(_until_gone(request))
    try:
        await asyncio.wait(
            {job.task, gone}, timeout=serving.settings.limits.answer_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if job.task.done():
            return await result_of(job, form, serving)
        if gone.done():
            job.cancel()
            return Response(status_code=408)  # to nobody
        serving.jobs.keep(job)
        return accepted(job)
    finally:
        gone.cancel()


async def result_of(job: Job, form: Form, serving: Serving) -> Response:
    """The answer of a job that has ended; raises the Problem that stopped it."""
    if job.problem is not None:
        raise job.problem
    if job.answer is None:
        raise Problem(410, "the job was cancelled")
    most = serving.settings.limits.json_numbers
    if job.answer.num_numbers <= _SMALL:
        content = rendered(job.answer, form, most)
    else:
        content = await asyncio.to_thread(rendered, job.answer, form, most)
    return Response(content, media_type=MEDIA_TYPES[form])


def accepted(job: Job) -> Response:
    """202: where to ask for a job."""
    return Response(
        job_body(job).model_dump_json(),
        202,
        {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"},
        media_type="application/json",
    )


def _is_background(request: Request) -> bool:
    wishes = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(wish.strip().split(";")[0].strip() == "respond-async" for wish in wishes)


async def _until_gone(request: Request) -> None:
    """Returns when the client has left."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()
