"""A server in a process of its own, asked over connections that a benchmark keeps open itself."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SAFETENSORS = "application/vnd.safetensors"
LIVE = "/v2/health/live"
RESULTS = Path(__file__).with_name("SERVE.md")


@dataclass(frozen=True)
class Reply:
    """An answer, and the seconds from the request to its last byte."""

    status: int
    headers: Mapping[bytes, bytes]
    content: bytes
    seconds: float


@dataclass(eq=False)
class Caller:
    """One client: a connection that is opened when needed and kept."""

    port: int
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = field(default=None, repr=False)

    async def get(self, path: str) -> Reply:
        """Ask for what is there."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, accept: str = SAFETENSORS) -> Reply:
        """Send a request; opened anew where the server has closed."""
        return await self._ask(post_bytes(path, body, accept))

    async def leave(self, path: str, body: bytes) -> None:
        """Send a request and go away before it is answered."""
        await self._open()
        assert self._writer is not None
        self._writer.write(post_bytes(path, body, SAFETENSORS))
        await self._writer.drain()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _open(self) -> None:
        if self._writer is None or self._writer.is_closing() or (self._reader and self._reader.at_eof()):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def _ask(self, request: bytes) -> Reply:
        await self._open()
        assert self._reader is not None and self._writer is not None
        start = time.perf_counter()
        try:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
            content = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise
        if headers.get(b"connection") == b"close":
            self.close()
        return Reply(int(lines[0].split()[1]), headers, content, time.perf_counter() - start)


def post_bytes(path: str, body: bytes, accept: str) -> bytes:
    """A POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def embed_body(sequences: Sequence[str]) -> bytes:
    """A request to embed."""
    return json.dumps({"sequences": list(sequences)}).encode()


@dataclass(frozen=True)
class ServerProcess:
    """A running server."""

    port: int
    process: psutil.Process

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        return self.process.memory_info().rss / 1e6

    @property
    def num_files(self) -> int:
        """Open files and connections."""
        return self.process.num_fds()


@contextmanager
def serving(arguments: Sequence[str], module: str = "openankh") -> Iterator[ServerProcess]:
    """`openankh serve` (or another module that prints a line with its URL) on a free port, until the block ends."""
    words = ["serve", "--port", "0", "--json"] if module == "openankh" else []
    command = [sys.executable, "-m", module] if module == "openankh" else [sys.executable, module]
    with subprocess.Popen([*command, *words, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", line := process.stdout.readline())):
            assert line or process.poll() is None, "the server did not start"
        try:
            yield ServerProcess(int(found[1]), psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(60)


def put_section(path: Path, title: str, text: str) -> None:
    """Put a section into a table's file, in the place of the one of that title, else at its end."""
    whole = path.read_text() if path.is_file() else "# Serving: common batches, and a thousand clients\n"
    parts = re.split(r"(?m)^(?=## )", whole)
    section = f"## {title}\n\n{text.strip()}\n\n"
    places = [number for number, part in enumerate(parts) if part.startswith(f"## {title}\n")]
    if places:
        parts[places[0]] = section
    else:
        parts[-1] = parts[-1].rstrip() + "\n\n"
        parts.append(section)
    path.write_text("".join(parts).rstrip() + "\n")


def percentile(seconds: Sequence[float], share: float) -> float:
    """The value that this share of all do not exceed."""
    ordered = sorted(seconds)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


async def batch_figures(port: int) -> tuple[float, float, float]:
    """(batches, their seconds, their tokens) since the server began."""
    text = (await Caller(port).get("/metrics")).content.decode()

    def value(name: str) -> float:
        return float(re.search(rf"^openankh_{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]  # pyright: ignore

    return value("batch_seconds_count"), value("batch_seconds_sum"), value("batch_tokens_sum")
