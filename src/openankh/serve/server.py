"""The server process: a socket bound by its rules, uvicorn with deadlines, and an end that finishes what was begun."""

import logging
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from openankh.errors import UserError
from openankh.serve import access_log
from openankh.serve.app import create_app
from openankh.serve.protocol import protocol_class
from openankh.serve.settings import Settings

_BACKLOG = 2048
_OWN_FILES = 512
"""Files beside the connections."""
_SWITCH_SECONDS = 0.001
"""How long a thread may keep others from Python: the model's must not make those who answer wait."""


class Server(uvicorn.Server):
    """Stops at SIGINT and SIGTERM, finishes what it took in, and returns; `ready` hears when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """As uvicorn does, but a signal that was obeyed is not raised a second time."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def run(settings: Settings, ready: Callable[[str], None] = lambda url: None, *, log_requests: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; `ready` hears the URL. Raises UserError for what keeps it from beginning."""
    listener = bound(settings)
    sys.setswitchinterval(_SWITCH_SECONDS)
    allow_files(settings.limits.connections + _OWN_FILES)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    access_log.log.setLevel(logging.INFO if log_requests else logging.WARNING)
    try:
        app = create_app(settings)
        server = Server(configuration(app, settings), lambda: ready(url_of(listener, settings)))
        server.run(sockets=[listener])
    finally:
        listener.close()


def allow_files(num: int) -> None:
    """Let this process open so many files and connections, or as many as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num if hard == resource.RLIM_INFINITY else min(num, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def configuration(app: object, settings: Settings) -> uvicorn.Config:
    """uvicorn's settings: no guessing of addresses from headers, no WebSockets, no names of software in answers."""
    limits = settings.limits
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        http=protocol_class(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(limits.idle_seconds),
        timeout_graceful_shutdown=round(limits.drain_seconds),
        backlog=_BACKLOG,
    )


def bound(settings: Settings) -> socket.socket:
    """The socket to listen on; UserError for an address that cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"{settings.host}:{settings.port}: cannot listen there ({error.strerror}); choose another --port"
        ) from None
    listener.set_inheritable(False)
    return listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Where the server is found."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"
