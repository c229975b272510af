"""`/v1/jobs`: work that takes longer: its state, its result, and how to stop it."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from openankh.serve.answers import wanted_form
from openankh.serve.job_messages import JobBody, job_body
from openankh.serve.jobs import ENDED
from openankh.serve.routes.documents import ACCEPTED
from openankh.serve.serving import accepted, result_of, serving_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=200, examples=["h7Xq2mA9kQ3vR1tB5nZw0g"])]


@router.get("/{job_id}")
async def state(request: Request, job_id: JobId) -> JobBody:
    """How far a job is."""
    return job_body(serving_of(request).jobs.find(job_id))


@router.get("/{job_id}/result", responses=ACCEPTED)
async def result(request: Request, job_id: JobId) -> Response:
    """A job's result, in the form that `Accept` asks for; 202 while it is under way, 410 when it was cancelled."""
    serving = serving_of(request)
    job = serving.jobs.find(job_id)
    if job.state not in ENDED:
        return accepted(job)
    return await result_of(job, wanted_form(request.headers.get("accept")), serving)


@router.delete("/{job_id}")
async def cancel(request: Request, job_id: JobId) -> JobBody:
    """Stop a job, and forget its result."""
    job = serving_of(request).jobs.remove(job_id)
    return job_body(job)
