"""HTTP connections with deadlines: headers must come in time and be small, and nobody holds a connection for nothing.

uvicorn itself waits for headers for ever, however slowly they drip. A request that was refused before its body was read
may send it to its end for a few seconds more, into nothing, so that its client comes to read the answer.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openankh.serve.settings import Limits

MOST_HEADER_BYTES = 1 << 16
LINGER_SECONDS = 3.0
_OVERHEAD = 8
"""Bytes on the wire of a byte of a body, when it comes in the smallest chunks."""


class DeadlineProtocol(HttpToolsProtocol):
    """One connection. `limits` are set on a subclass, `protocol_class(limits)`."""

    limits = Limits()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._reading_deadline: asyncio.TimerHandle | None = None
        self._awaits_headers = True
        self._awaits_body = False
        self._num_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(b"503 Service Unavailable\r\nretry-after: 1")
        else:
            self._close_after(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which is left running there when a client breaks off

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.transport.is_closing():
            return
        if self._awaits_headers and self._deadline is None:
            self._close_after(self.limits.header_seconds)
        self._num_bytes += len(data)
        super().data_received(data)
        most = MOST_HEADER_BYTES + (0 if self._awaits_headers else _OVERHEAD * self.limits.body_bytes)
        if self._num_bytes > most and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._awaits_headers, self._awaits_body = True, True

    def on_headers_complete(self) -> None:
        """Its headers are there; its body has a deadline where it is read."""
        self._disarm()
        self._awaits_headers, self._num_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._awaits_body = False
        if self.cycle is not None and self.cycle.response_complete:
            self._end_request()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered; the rest of its body, if there is more, is read into nothing for a while."""
        super().on_response_complete()
        if self._awaits_body:
            self._close_after(LINGER_SECONDS)
        elif not self.pipeline:
            self._end_request()

    def pause_writing(self) -> None:
        """The client does not read what was sent; it has some seconds to."""
        super().pause_writing()
        self._reading_deadline = self.loop.call_later(self.limits.send_seconds, self._close)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def _end_request(self) -> None:
        self._disarm()
        self._awaits_headers, self._num_bytes = True, 0

    def _close_after(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def protocol_class(limits: Limits) -> type[DeadlineProtocol]:
    """The protocol with these limits."""
    return type("LimitedProtocol", (DeadlineProtocol,), {"limits": limits})
