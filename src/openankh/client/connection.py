"""Requests to a server over one kept connection a thread, tried again when it has no room or breaks off."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from openankh.errors import UserError

_AGAIN = (429, 503)
_MOST_PAUSE = 30.0


class ServerError(UserError):
    """What the server answered instead of a result: `status`, `code`, `where`."""

    def __init__(self, status: int, message: str, code: str = "", where: str = "") -> None:
        super().__init__(f"the server answered {status}: {message}")
        self.status, self.code, self.where = status, code, where


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers by lower-case name, its bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The content as JSON."""
        return json.loads(self.content)


@dataclass(eq=False)
class Connection:
    """A server at `url`. `pause` sleeps; given only by tests.

    `retries`: how often a request is tried again after 429, 503, or a connection that broke; it waits as long as the
    server's `Retry-After` says, else longer each time, but never until later than `patience` seconds from the start.
    """

    url: str
    token: str | None = None
    timeout: float = 60.0
    retries: int = 8
    patience: float = 120.0
    pause: Callable[[float], None] = time.sleep
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{self.url}: no address of a server; write http://127.0.0.1:8000")
        self._parts = parts

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer; raises ServerError for one that is no result, UserError where no server answers."""
        content = None if body is None else json.dumps(body).encode()
        end = time.monotonic() + self.patience
        for number in range(self.retries + 1):
            is_last = number == self.retries
            try:
                reply = self._once(method, path, content, dict(headers or {}))
            except (OSError, HTTPException) as error:
                self._drop()
                if is_last or not self._paused(_backoff(number), end):
                    raise UserError(
                        f"{self.url}: no answer ({type(error).__name__}: {error}); is it serving?"
                    ) from None
                continue
            if reply.status not in _AGAIN or is_last or not self._paused(_told_pause(reply, number), end):
                return _checked(reply)
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Close this thread's connection."""
        self._drop()

    def _once(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> Reply:
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = self._connection()
        connection.request(method, self._parts.path.rstrip("/") + path, content, headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())

    def _connection(self) -> HTTPConnection:
        kept = getattr(self._local, "connection", None)
        if kept is None:
            kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
            assert self._parts.hostname is not None
            kept = self._local.connection = kind(self._parts.hostname, self._parts.port, timeout=self.timeout)
        return kept

    def _drop(self) -> None:
        kept = getattr(self._local, "connection", None)
        if kept is not None:
            kept.close()
            self._local.connection = None

    def _paused(self, seconds: float, end: float) -> bool:
        """Whether there was time to wait so long."""
        if time.monotonic() + seconds > end:
            return False
        self.pause(seconds)
        return True


def _told_pause(reply: Reply, number: int) -> float:
    """What `Retry-After` says, in seconds or as a date, and a little more, so that not all come back at once."""
    told = reply.headers.get("retry-after", "")
    if told.isdigit():
        return float(told) * random.uniform(1.0, 1.25)
    try:
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    except ValueError:
        return _backoff(number)


def _backoff(number: int) -> float:
    return min(0.1 * 2**number, _MOST_PAUSE) * random.uniform(0.5, 1.0)


def _checked(reply: Reply) -> Reply:
    if reply.status < 300:
        return reply
    try:
        error = reply.json()["error"]
        told = str(error["message"]), str(error["code"]), str(error.get("where", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ServerError(reply.status, "an answer that is not openankh's; check the address") from None
    raise ServerError(reply.status, *told)
