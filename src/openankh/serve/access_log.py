"""One line a request in the log, whatever bytes a client put into it."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("openankh.serve.access")

_MOST = 200


class AccessLog:
    """ASGI middleware that logs address, method, path, status and milliseconds; never a query, a header or a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
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
            client = (scope.get("client") or ("-",))[0]
            milliseconds = 1000 * (time.perf_counter() - start)
            log.info(
                "%s %s %s %d %.1f ms", client, harmless(scope["method"]), harmless(scope["path"]), status, milliseconds
            )


def harmless(text: str) -> str:
    """The text with white space and everything that is not printed escaped: one word of one line."""
    shown = "".join(
        letter if letter.isprintable() and letter not in " \\" else _escaped(letter) for letter in text[:_MOST]
    )
    return shown + ("…" if len(text) > _MOST else "")


def _escaped(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"
