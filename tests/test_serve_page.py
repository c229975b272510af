"""The page about serving: its curl examples and its Python are asked of a server and answered, its options exist."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from openankh.cli.app import build_app
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import Limits, Settings
from serve_samples import NAME, served_model
from test_serve_server import Running, running

__all__ = ["served_model"]

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "serve.md").read_text()


@pytest.fixture(scope="module")
def server(served_model: ModelHost) -> Iterator[Running]:
    with running(served_model, Settings(model=NAME)) as found:
        yield found


def lines(page: str, command: str) -> list[str]:
    """The commands of that name in the page's shell blocks."""
    blocks = [block["code"] for block in BLOCK.finditer(page) if block["language"] == "sh"]
    return [line for block in blocks for line in block.splitlines() if line.startswith(command)]


@dataclass
class Curl:
    """A request as a curl command asks for it."""

    url: str = ""
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, line: str) -> "Curl":
        words, found = iter(shlex.split(line)[1:]), cls()
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                found.headers[name] = value
            elif word == "-d":
                found.body = next(words).encode()
            elif word == "-o":
                next(words)
            elif word != "-s":
                found.url = word
        return found


def test_every_curl_example_is_answered(page: str, server: Running) -> None:
    from http.client import HTTPConnection

    examples = [line for line in lines(page, "curl") if "$(" not in line]
    assert len(examples) >= 7
    for line in examples:
        curl = Curl.of(line)
        assert curl.url.startswith(ADDRESS)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        method = "GET" if curl.body is None else "POST"
        connection.request(method, curl.url.removeprefix(ADDRESS), curl.body, curl.headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == (202 if "Prefer" in curl.headers else 200), (line, content)


def test_the_python_runs(page: str, server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block["code"] for block in BLOCK.finditer(page) if block["language"] == "python"]
    exec(compile(code.replace(ADDRESS, f"http://127.0.0.1:{server.port}"), "docs/serve.md", "exec"), {})
    assert "A6V" in capsys.readouterr().out


def test_the_commands_parse(page: str) -> None:
    commands = lines(page, "openankh")
    assert len(commands) == 3
    for line in commands:
        build_app().parse_args(shlex.split(line)[1:])


def test_the_limits_told_are_those_of_a_server(page: str) -> None:
    limits = Limits()
    told = dict(re.findall(r"^\| ([a-z ,]+) \| ([0-9,]+)", page, re.MULTILINE))
    assert int(told["proteins of a request"].replace(",", "")) == limits.proteins
    assert int(told["residues of a protein"].replace(",", "")) == limits.residues
    assert int(told["residues of a request"].replace(",", "")) == limits.request_residues
    assert int(told["residues that may wait"].replace(",", "")) == limits.waiting_residues
    assert "4 MiB" in page and limits.body_bytes == 4 << 20
    assert "10, 30, 15" in page
    assert (limits.header_seconds, limits.body_seconds, limits.idle_seconds) == (10, 30, 15)


def test_every_route_of_the_table_is_in_the_document(page: str, server: Running) -> None:
    document = json.loads(server.ask(path="/openapi.json")[1])
    paths = {re.sub(r"\{\w+\}", "X", path) for path in document["paths"]}
    for told in re.findall(r"`(?:GET |POST )?(/v[12][\w/]*)`", page):
        assert re.sub(r"/(NAME|ID)", "/X", told) in paths, told
