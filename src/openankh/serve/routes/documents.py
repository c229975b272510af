"""What the OpenAPI document says of answers that all routes share: errors, binary forms, jobs."""

from typing import Any

from openankh.serve.answers import MEDIA_TYPES
from openankh.serve.job_messages import JobBody
from openankh.serve.problems import ErrorBody

Responses = dict[int | str, dict[str, Any]]

ERRORS: Responses = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "not HTTP, or not JSON, as it should be",
        401: "no token, or not the right one",
        403: "a page of another site asked",
        404: "there is no such thing here",
        405: "not with this method",
        406: "no form of answer that `Accept` allows",
        408: "the body did not come in time",
        413: "the body is too large",
        415: "not JSON, or compressed otherwise than with gzip",
        422: "the request makes no sense, or is beyond a limit; `where` says which part",
        429: "too many requests of this client at a time; `Retry-After` says when to come back",
        503: "no room, or the server stops; `Retry-After` says when to come back",
    }.items()
}

ACCEPTED: Responses = {202: {"model": JobBody, "description": "It takes longer: ask for the job at `Location`."}}


def binary_answers(what: str) -> Responses:
    """200 as JSON or binary, and 202."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = {MEDIA_TYPES["safetensors"]: binary, MEDIA_TYPES["npz"]: binary}
    return {200: {"description": f"JSON; or {what}", "content": kinds}, **ACCEPTED}
