"""The client gives what the library gives, waits as it is told, and says in one line what is wrong."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from openankh.client import Client, ServerError
from openankh.errors import UserError
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import Settings
from serve_samples import NAME, served_model, small_limits, small_settings
from test_serve_server import Running, running

__all__ = ["served_model"]

PROTEINS = ["MKTAYIAKQR", "MVLSPADKTNVKAAWGKVGA", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture(scope="module")
def server(served_model: ModelHost) -> Iterator[Running]:
    with running(served_model, small_settings()) as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.port}") as client:
        yield client


def test_embeddings_are_those_of_the_library_in_any_number_of_requests(client: Client, served_model: ModelHost) -> None:
    exact = [array for _, array in served_model.loaded.embed(PROTEINS, pool="residues")]
    for at_once in (1, 2, 3):
        found = client.embed(PROTEINS, pool="residues", at_once=at_once)
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(found, exact, strict=True))


def test_all_else_is_what_the_api_answers(client: Client, served_model: ModelHost) -> None:
    assert client.served()["model"] == NAME and client.is_ready()
    assert client.score("MKV", ["K2A"])["scores"][0]["variant"] == "K2A"
    assert len(client.score("MKV")["raw"]) == 3
    exact = [each.sequence for each in served_model.loaded.complete(["MKTAYIAK"], keep=0.5)]
    assert [each["sequence"] for each in client.complete([("a", "MKTAYIAK")], keep=0.5)] == exact


def test_mistakes_come_back_as_one_line(client: Client) -> None:
    with pytest.raises(ServerError) as caught:
        client.embed(["MK1"])
    assert caught.value.status == 422 and caught.value.where == "sequences[0]" and "\n" not in str(caught.value)
    for task in ("../x", "a/b", "none"):
        with pytest.raises(ServerError, match="404"):
            client.predict(task, PROTEINS)
    with pytest.raises(ServerError):
        client.search(PROTEINS)


def test_a_token_is_sent(served_model: ModelHost) -> None:
    settings = Settings(model=NAME, token="correct-horse-battery", limits=small_limits())
    with running(served_model, settings) as found:
        with Client(f"http://127.0.0.1:{found.port}", token="correct-horse-battery") as client:
            assert client.embed(["MKV"])[0].shape == (16,)
        with Client(f"http://127.0.0.1:{found.port}") as client, pytest.raises(ServerError, match="401"):
            client.embed(["MKV"])


def test_long_work_is_waited_for_and_its_job_forgotten(served_model: ModelHost) -> None:
    settings = small_settings(answer_seconds=0)
    with (
        running(served_model, settings) as found,
        Client(f"http://127.0.0.1:{found.port}", pause=lambda seconds: None) as client,
    ):
        assert client.embed(["MKV"])[0].shape == (16,)
        assert len(found.serving.jobs) == 0


class Scripted:
    """A server that answers what it is told to, one answer a request."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any]) -> None:
        script = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.num_requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.num_requests += 1
                status, headers, content = next(script)
                if status == 0:
                    self.connection.close()
                    return
                text = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def error(status: int) -> dict[str, dict[str, str]]:
    return {"error": {"code": "unavailable", "message": f"no room {status}"}}


def test_it_waits_as_long_as_it_is_told_and_tries_again() -> None:
    pauses: list[float] = []
    with (
        Scripted(
            (503, {"Retry-After": "7"}, error(503)), (429, {"Retry-After": "2"}, error(429)), (200, {}, {"model": "x"})
        ) as found,
        Client(found.url, pause=pauses.append) as client,
    ):
        assert client.served() == {"model": "x"}
    assert 7 <= pauses[0] <= 8.75 and 2 <= pauses[1] <= 2.5 and len(pauses) == 2


def test_it_gives_up_after_its_retries_or_its_patience() -> None:
    with Scripted((503, {"Retry-After": "1"}, error(503))) as found:
        with (
            Client(found.url, retries=3, pause=lambda seconds: None) as client,
            pytest.raises(ServerError, match="no room"),
        ):
            client.served()
        assert found.num_requests == 4
    pauses: list[float] = []
    with (
        Scripted((503, {"Retry-After": "900"}, error(503))) as found,
        Client(found.url, pause=pauses.append) as client,
        pytest.raises(ServerError, match="no room"),
    ):
        client.served()
    assert pauses == []


def test_a_broken_connection_is_tried_again() -> None:
    with (
        Scripted((0, {}, None), (200, {}, {"model": "x"})) as found,
        Client(found.url, pause=lambda seconds: None) as client,
    ):
        assert client.served() == {"model": "x"}


def test_other_errors_are_not_tried_again() -> None:
    with Scripted((422, {}, error(422))) as found, Client(found.url) as client:
        with pytest.raises(ServerError, match="422"):
            client.served()
        assert found.num_requests == 1
    with (
        Scripted((500, {}, ["not ours"])) as found,
        Client(found.url) as client,
        pytest.raises(ServerError, match="address"),
    ):
        client.served()


def test_addresses_that_are_none_are_told() -> None:
    for url in ("127.0.0.1:8000", "ftp://x", "http://", ""):
        with pytest.raises(UserError, match="no address"):
            Client(url)
    with Client("http://127.0.0.1:9", retries=0) as client, pytest.raises(UserError, match="is it serving"):
        client.served()
