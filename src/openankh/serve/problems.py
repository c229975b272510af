"""What a client is told when its request is not served: one shape for all, `{"error": {...}}`, never a traceback."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openankh.errors import UserError
from openankh.serve.engine import BusyError, FailedError

log = logging.getLogger("openankh.serve")

_MOST = 300
"""Letters of a message: what a client sent is quoted in some, and it may be long."""

_CODES = {
    400: "bad_request",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "timeout",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected",
    422: "invalid",
    429: "too_many_requests",
    503: "unavailable",
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["invalid"], description="One word for programs.")
    message: str = Field(examples=["sequences[3]: 'J' is not a residue"], description="One line for people.")
    where: str | None = Field(None, examples=["sequences[3]"], description="The place in the request, if there is one.")


class ErrorBody(BaseModel):
    """The answer to a request that is not served."""

    model_config = ConfigDict(title="Error")

    error: ErrorDetail


class Problem(Exception):  # noqa: N818 - what HTTP calls it
    """A request that is not served: a status, one line, and the place in the request."""

    def __init__(
        self, status: int, message: str, where: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.where, self.headers = status, message, where, dict(headers or {})

    @property
    def body(self) -> bytes:
        """As JSON."""
        return orjson.dumps({"error": detail_of(self).model_dump(exclude_none=True)})

    def response(self) -> Response:
        """As an answer."""
        return Response(self.body, self.status, self.headers, media_type="application/json")


def detail_of(problem: Problem) -> ErrorDetail:
    """What is told of it."""
    return ErrorDetail(code=_CODES[problem.status], message=one_line(problem.message), where=problem.where)


def busy(error: BusyError) -> Problem:
    """The server has no room: 503 with when to come back."""
    return Problem(503, str(error), headers={"Retry-After": str(error.retry_after)})


def problem_of(error: Exception) -> Problem:
    """What stopped a piece of work, as its client is told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BusyError):
        return busy(error)
    if isinstance(error, UserError):
        return Problem(422, str(error))
    if not isinstance(error, FailedError):
        log.error("unexpected %s: %s", type(error).__name__, one_line(str(error)), exc_info=error)
    return Problem(503, "the model failed on this; try again", headers={"Retry-After": "5"})


def one_line(text: str) -> str:
    """The text in one line of bounded length, control characters and halves of surrogate pairs escaped."""
    shown = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown)
    return shown if len(shown) <= _MOST else shown[:_MOST] + "…"


class NeverBare:
    """ASGI middleware that turns what nobody expected into an answer of this shape, and one line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        has_begun = False

        async def send_and_see(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        except Exception as error:
            problem = problem_of(error)
            if not has_begun and scope["type"] == "http":
                await problem.response()(scope, receive, send)


def add_problem_handlers(app: FastAPI) -> None:
    """Let every exception become an answer of this shape."""

    async def from_problem(request: Request, error: Exception) -> Response:
        return problem_of(error).response()

    async def from_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code if error.status_code in _CODES else 400
        return Problem(status, str(error.detail), headers=error.headers).response()

    async def from_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(error.errors()).response()

    for kind in (Problem, BusyError, UserError, FailedError):
        app.add_exception_handler(kind, from_problem)
    app.add_exception_handler(HTTPException, from_http)
    app.add_exception_handler(RequestValidationError, from_validation)


def invalid(errors: Any) -> Problem:
    """422 that tells of the first thing wrong and where it stands."""
    first = errors[0]
    where = place_of(first["loc"])
    return Problem(422, f"{where}: {first['msg']}" if where else first["msg"], where or None)


def place_of(path: Any) -> str:
    """`sequences[3].id` for ("body", "sequences", 3, "id")."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in ("body", "query", "path", "header"):
            text += f".{part}" if text else str(part)
    return one_line(text)
