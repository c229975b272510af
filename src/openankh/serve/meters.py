"""What is counted and measured while serving, as Prometheus reads it at `/metrics`."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openankh.serve.engine import BatchFacts, Engine
from openankh.serve.jobs import Jobs

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)


class Meters:
    """All meters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = {"registry": self.registry, "namespace": "openankh"}
        self._requests = Counter("requests", "Requests answered.", ["route", "method", "status"], **names)
        self._seconds = Histogram(
            "request_seconds", "From a request to its answer.", ["route"], buckets=_SECONDS, **names
        )
        self._refused = Counter("refused", "Requests turned away while there was no room.", ["status"], **names)
        self._proteins = Counter("proteins", "Proteins embedded.", **names)
        self._tokens = Counter("tokens", "Tokens computed in batches.", **names)
        self._batch_seconds = Histogram("batch_seconds", "Of one batch.", buckets=_SECONDS, **names)
        self._batch_tokens = Histogram("batch_tokens", "Of one batch.", buckets=_TOKENS, **names)
        self._batch_requests = Histogram(
            "batch_requests", "Requests that shared one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128), **names
        )

    def watch(self, engine: Engine, jobs: Jobs) -> None:
        """Show the line before the model, and the jobs."""
        shown = {
            "waiting_residues": ("Residues that wait for the model.", lambda: engine.num_waiting_residues),
            "waiting_requests": ("Requests that wait for the model.", lambda: engine.num_waiting_requests),
            "jobs_at_work": ("Jobs that have not ended.", lambda: jobs.num_at_work),
            "jobs_kept": ("Jobs that can be asked for.", lambda: len(jobs)),
        }
        for name, (text, value) in shown.items():
            Gauge(name, text, registry=self.registry, namespace="openankh").set_function(value)

    def batch(self, facts: BatchFacts) -> None:
        """A batch was computed; called by the model's thread."""
        self._proteins.inc(facts.num_proteins)
        self._tokens.inc(facts.num_tokens)
        self._batch_seconds.observe(facts.seconds)
        self._batch_tokens.observe(facts.num_tokens)
        self._batch_requests.observe(facts.num_requests)

    def refused(self, status: int) -> None:
        """A request was turned away at the door."""
        self._refused.labels(str(status)).inc()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is a pattern of ours, never what a client wrote."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class Metering:
    """ASGI middleware that counts answers and measures how long they took."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._meters.answered(_pattern(scope), method, status, time.perf_counter() - start)


_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])


def _pattern(scope: Scope) -> str:
    """The route's pattern; "none" where no route took the request."""
    return getattr(scope.get("route"), "path", "none")
