"""Bodies of requests, read within limits before anything else sees them: size, time, compression, shape.

A body is held whole, since all that is read is small; what is too large is refused at the byte that is too many.
"""

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openankh.serve.body_scan import JsonBounds, JsonScan
from openankh.serve.problems import Problem
from openankh.serve.settings import Limits

_PIECE = 1 << 16
_MOST_DEPTH = 16
_SPARE_VALUES = 200
_VALUES_A_PROTEIN = 8
Headers = list[tuple[bytes, bytes]]


class GoneError(Exception):
    """The client left before its request was whole."""


class RequestBody:
    """ASGI middleware that reads the body and hands it on in one piece."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._held = 0
        values = max(limits.proteins * _VALUES_A_PROTEIN, limits.variants * 2) + _SPARE_VALUES
        self._bounds = JsonBounds(_MOST_DEPTH, values, max(2 * limits.residues, 10_000))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS", "DELETE"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await self._read(scope["path"], headers, receive)
        except GoneError:
            return
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        with self._holding(len(body)):
            scope["headers"] = _without_coding(scope["headers"], len(body))  # the scope itself: routes write into it
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, path: str, headers: Mapping[str, str], receive: Receive) -> bytes:
        self._check_length(headers.get("content-length"))
        decoder = _decoder(headers.get("content-encoding", "identity").strip().lower(), self._limits.body_bytes)
        is_json = "json" in headers.get("content-type", "json")
        scan = JsonScan(self._bounds) if is_json and path.startswith("/v") else None
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise GoneError
                    more = message.get("more_body", False)
                    self._take(decoder.feed(message.get("body", b"")), body, scan)
        except TimeoutError:
            raise Problem(408, f"the body did not come within {self._limits.body_seconds:g} s") from None
        decoder.finish()
        return bytes(body)

    def _take(self, piece: bytes, body: bytearray, scan: JsonScan | None) -> None:
        if len(body) + len(piece) > self._limits.body_bytes:
            raise self._too_large()
        if self._held + len(body) + len(piece) > self._limits.bodies_bytes:
            raise Problem(503, "too many large requests at a time", headers={"Retry-After": "2"})
        if scan is not None:
            scan.feed(piece)
        body += piece

    def _check_length(self, told: str | None) -> None:
        if told is None:
            return
        if not (told.isascii() and told.isdigit()):
            raise Problem(400, "Content-Length: is no number")
        if int(told[:20]) > self._limits.body_bytes:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"the body has more than {self._limits.body_bytes:,} bytes; send fewer proteins at a time")

    @contextmanager
    def _holding(self, num_bytes: int) -> Iterator[None]:
        self._held += num_bytes
        try:
            yield
        finally:
            self._held -= num_bytes


class _Plain:
    """A body that is not compressed."""

    def feed(self, piece: bytes) -> bytes:
        """The same."""
        return piece

    def finish(self) -> None:
        """Nothing is left."""


@dataclass(eq=False)
class _Gzip:
    """A body in gzip: never more than `most` bytes and one come out."""

    most: int

    def __post_init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._num_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        """What the next bytes become."""
        if self._zlib.eof:
            if piece:
                raise Problem(400, "there is something behind the gzip stream")
            return b""
        try:
            found = self._zlib.decompress(piece, self.most + 1 - self._num_bytes)
        except zlib.error:
            raise Problem(400, "the body is not gzip, as Content-Encoding says") from None
        self._num_bytes += len(found)
        if self._zlib.unused_data:
            raise Problem(400, "there is something behind the gzip stream")
        return found

    def finish(self) -> None:
        """Refuse what was cut short."""
        if not self._zlib.eof:
            raise Problem(400, "the gzip stream of the body is cut short")


def _decoder(coding: str, most: int) -> _Plain | _Gzip:
    if coding in ("identity", ""):
        return _Plain()
    if coding in ("gzip", "x-gzip"):
        return _Gzip(most)
    raise Problem(
        415, "Content-Encoding: send the body plain, or in gzip", headers={"Accept-Encoding": "gzip, identity"}
    )


def _without_coding(headers: Headers, length: int) -> Headers:
    """The headers as of a plain body of that length."""
    dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
    kept = [pair for pair in headers if pair[0].lower() not in dropped]
    return [*kept, (b"content-length", str(length).encode())]


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what the connection says: that the client has left."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
