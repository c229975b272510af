"""The server on a real socket: deadlines, clients that leave, a full line, SIGTERM, answers while the model works."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.protocol import MOST_HEADER_BYTES
from openankh.serve.server import Server, bound, configuration, url_of
from openankh.serve.serving import Serving
from openankh.serve.settings import Settings
from serve_samples import served_model, small_settings, tiny_model

__all__ = ["served_model"]

BODY = json.dumps({"sequences": ["MKTAYIAKQR"]}).encode()
POST = b"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Running:
    """A server in a thread of this process."""

    port: int
    serving: Serving
    server: Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, method: str = "GET", path: str = "/v2/health/live", body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.status, answer.read()
        connection.close()
        return content


@contextmanager
def running(model: ModelHost, settings: Settings) -> Iterator[Running]:
    settings = replace(settings, port=0)
    listener = bound(settings)
    app = create_app(settings, model)
    ready = threading.Event()
    server = Server(configuration(app, settings), ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(30)
        yield Running(listener.getsockname()[1], app.state.serving, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Gate:
    """A model that computes nothing until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.begun, self.batches = threading.Event(), threading.Event(), []
        embed = ModelHost.embed

        def gated(model: ModelHost, options: EmbedOptions, records: list) -> list:
            self.batches.append(len(records))
            self.begun.set()
            assert self.open.wait(30)
            return embed(model, options, records)

        monkeypatch.setattr(ModelHost, "embed", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def read_to_the_end(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_a_client_that_sends_nothing_is_cut(served_model: ModelHost) -> None:
    with running(served_model, small_settings(header_seconds=0.05)) as found, found.connect() as connection:
        assert read_to_the_end(connection) == b""


@pytest.mark.parametrize("beginning", [b"G", POST, POST + b"X-Slow: "])
def test_a_client_whose_headers_drip_is_cut(served_model: ModelHost, beginning: bytes) -> None:
    with running(served_model, small_settings(header_seconds=0.3)) as found, found.connect() as connection:
        stop = threading.Event()

        def drip() -> None:
            try:
                connection.sendall(beginning)
                while not stop.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        assert b"200" not in read_to_the_end(connection)
        stop.set()
        thread.join()


def test_a_client_whose_body_does_not_come_is_told_and_cut(served_model: ModelHost) -> None:
    with running(served_model, small_settings(body_seconds=0.05)) as found, found.connect() as connection:
        connection.sendall(POST + b"Content-Length: 50\r\n\r\n{")
        assert b" 408 " in read_to_the_end(connection).splitlines()[0]


def test_an_idle_connection_is_cut_and_a_busy_one_goes_on(served_model: ModelHost) -> None:
    with running(served_model, small_settings(idle_seconds=1)) as found, found.connect() as connection:
        request = POST + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        for _ in range(3):
            connection.sendall(request)
            assert b"200 OK" in connection.recv(1 << 16)
        read_to_the_end(connection)  # returns, for the server closes


def test_headers_of_many_bytes_are_refused(served_model: ModelHost) -> None:
    with running(served_model, small_settings()) as found:
        for line in (b"X-Long: " + b"x" * (4 * MOST_HEADER_BYTES), b"X: y\r\n" * MOST_HEADER_BYTES):
            with found.connect() as connection:
                with suppress(OSError):
                    connection.sendall(POST + line)
                assert b"200" not in read_to_the_end(connection)
        assert found.ask()[0] == 200


def test_a_body_that_is_too_large_is_answered_while_it_is_sent(served_model: ModelHost) -> None:
    with running(served_model, small_settings()) as found, found.connect() as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        assert b" 413 " in connection.recv(1 << 16).splitlines()[0]


def test_more_connections_than_the_limit_are_sent_away(served_model: ModelHost) -> None:
    with running(served_model, small_settings(connections=2)) as found:
        held = [found.connect() for _ in range(2)]
        for connection in held:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in connection.recv(1 << 16)
        with found.connect() as more:
            assert read_to_the_end(more).startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()


def test_requests_of_many_clients_share_a_batch(served_model: ModelHost, gate: Gate) -> None:
    with running(served_model, small_settings()) as found:
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(found.ask("POST", "/v1/embed", BODY)[0])) for _ in range(9)
        ]
        threads[0].start()
        assert gate.begun.wait(30)
        for thread in threads[1:]:
            thread.start()
        while found.serving.engine.num_waiting_requests < 8:
            pass
        gate.open.set()
        for thread in threads:
            thread.join(30)
        assert answers == [200] * 9 and gate.batches == [1, 8]


def test_health_is_answered_while_the_model_works(served_model: ModelHost, gate: Gate) -> None:
    with running(served_model, small_settings()) as found:
        thread = threading.Thread(target=found.ask, args=("POST", "/v1/embed", BODY))
        thread.start()
        assert gate.begun.wait(30)
        assert found.ask()[0] == 200 and found.ask(path="/v2/health/ready")[0] == 200
        gate.open.set()
        thread.join(30)


def test_a_client_that_leaves_has_its_work_dropped(served_model: ModelHost, gate: Gate) -> None:
    with running(served_model, small_settings()) as found:
        first = threading.Thread(target=found.ask, args=("POST", "/v1/embed", BODY))
        first.start()
        assert gate.begun.wait(30)
        with found.connect() as leaving:
            leaving.sendall(POST + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
            while not found.serving.engine.num_waiting_requests:
                pass
        while found.serving.jobs.num_at_work > 1:
            pass
        gate.open.set()
        first.join(30)
        assert found.ask("POST", "/v1/embed", BODY)[0] == 200
        assert gate.batches == [1, 1]


def test_a_full_line_answers_503_with_retry_after_and_serves_again_later(served_model: ModelHost, gate: Gate) -> None:
    with running(served_model, small_settings(waiting_residues=10)) as found:
        threads = [threading.Thread(target=found.ask, args=("POST", "/v1/embed", BODY)) for _ in range(2)]
        threads[0].start()
        assert gate.begun.wait(30)
        threads[1].start()
        while not found.serving.engine.is_full:
            pass
        with found.connect() as connection:  # the body is never sent: nobody needs it to refuse
            connection.sendall(POST + b"Content-Length: 50\r\n\r\n")
            head = connection.recv(1 << 16).lower()
            assert head.startswith(b"http/1.1 503") and b"retry-after: " in head
        gate.open.set()
        for thread in threads:
            thread.join(30)
        assert found.ask("POST", "/v1/embed", BODY)[0] == 200


def test_a_client_with_many_requests_at_a_time_is_answered_429(served_model: ModelHost, gate: Gate) -> None:
    with running(served_model, small_settings(per_client=1)) as found:
        thread = threading.Thread(target=found.ask, args=("POST", "/v1/embed", BODY))
        thread.start()
        assert gate.begun.wait(30)
        assert found.ask("POST", "/v1/embed", BODY)[0] == 429
        gate.open.set()
        thread.join(30)
        assert found.ask("POST", "/v1/embed", BODY)[0] == 200


def test_what_was_accepted_is_answered_before_the_server_stops(served_model: ModelHost, gate: Gate) -> None:
    answers: list[int] = []
    with running(served_model, small_settings()) as found:
        threads = [
            threading.Thread(target=lambda: answers.append(found.ask("POST", "/v1/embed", BODY)[0])) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while found.serving.jobs.num_at_work < 4:
            pass
        found.server.should_exit = True
        gate.open.set()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 4


def test_sigterm_ends_the_command_with_success(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "openankh", "serve", "--port", "0", "--json", "-m", str(tiny_model(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        found = ""
        while "}" not in found:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            found += line
        port = int(json.loads(found)["url"].rpartition(":")[2])
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/embed", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        connection.close()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with bound(Settings(port=0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"{port}: cannot listen there"):
            bound(Settings(port=port))
        assert url_of(listener, Settings()) == f"http://127.0.0.1:{port}"
