"""Requests turned away at the door while there is no room, before their bodies are read: 429 and 503."""

from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from openankh.serve.engine import Engine
from openankh.serve.problems import Problem

_SECONDS = "1"


class Admission:
    """ASGI middleware that lets requests to the model in while its line is not full and their client has few others.

    `on_refused` hears the status of each that was turned away.
    """

    def __init__(
        self, app: ASGIApp, engine: Engine, per_client: int, on_refused: Callable[[int], None] = lambda status: None
    ) -> None:
        self._app, self._engine, self._per_client, self._on_refused = app, engine, per_client, on_refused
        self._at_work: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        problem = self._problem(client)
        if problem is not None:
            self._on_refused(problem.status)
            await problem.response()(scope, receive, send)
            return
        self._at_work[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._at_work[client] -= 1
            if not self._at_work[client]:
                del self._at_work[client]

    def _problem(self, client: str) -> Problem | None:
        if self._per_client and self._at_work[client] >= self._per_client:
            most = f"{self._per_client} requests at a time are the most for one client"
            return Problem(429, most, headers={"Retry-After": _SECONDS})
        if self._engine.is_full:
            return Problem(
                503, "too much work waits; try again later", headers={"Retry-After": str(self._engine.retry_after)}
            )
        return None
