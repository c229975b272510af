"""How a job is told of."""

from typing import Literal

from pydantic import BaseModel, Field

from openankh.serve.jobs import Job
from openankh.serve.problems import ErrorDetail, detail_of


class JobProgress(BaseModel):
    """How far a job is; `total` 0 where that is not known."""

    done: int = Field(examples=[12])
    total: int = Field(examples=[40])


class JobBody(BaseModel):
    """A job, as told at `/v1/jobs/{id}`."""

    id: str = Field(examples=["h7Xq2mA9kQ3vR1tB5nZw0g"])
    kind: str = Field(examples=["score"])
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    progress: JobProgress
    created: float = Field(description="Seconds since 1970.", examples=[1795392000.0])
    ended: float | None = Field(None, description="Seconds since 1970; null while it is under way.")
    result: str | None = Field(None, description="Where the result is, when it is done.")
    error: ErrorDetail | None = Field(None, description="What stopped it.")


def job_body(job: Job) -> JobBody:
    """What is told of a job."""
    return JobBody(
        id=job.id,
        kind=job.kind,
        state=job.state,
        progress=JobProgress(done=job.progress.done, total=job.progress.total),
        created=job.created,
        ended=job.ended,
        result=f"/v1/jobs/{job.id}/result" if job.state == "done" else None,
        error=detail_of(job.problem) if job.problem else None,
    )
