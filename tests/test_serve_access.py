"""Who may ask and what can be reached: tokens, hosts, other sites, paths, headers, log lines."""

import base64
import hmac
import logging
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

from openankh.errors import UserError
from openankh.serve import access
from openankh.serve.access import host_name, is_foreign, told_token
from openankh.serve.access_log import harmless
from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.response_headers import CSP
from openankh.serve.settings import Settings
from serve_samples import NAME, served_model, small_limits, small_settings

__all__ = ["served_model"]

TOKEN = "correct-horse-battery-staple"
LIVE = "/v2/health/live"
BASE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def client(served_model: ModelHost) -> Iterator[TestClient]:
    with TestClient(create_app(small_settings(), served_model), base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(served_model: ModelHost) -> Iterator[TestClient]:
    settings = Settings(model=NAME, host="0.0.0.0", token=TOKEN, limits=small_limits())
    with TestClient(create_app(settings, served_model), base_url="http://elsewhere.example") as client:
        yield client


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of every route, also of included routers, mounts among them."""

    def walk(found: list[BaseRoute]) -> Iterator[tuple[str, str]]:
        for route in found:
            inner = getattr(route, "routes", None)
            if inner:
                yield from walk(inner)
            path = getattr(route, "path", "")
            for method in getattr(route, "methods", None) or (["GET"] if path else []):
                yield method, re.sub(r"\{[^}]*\}", "x", path)

    paths = set(walk(app.routes))
    paths |= {
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path))
        for path, each in app.openapi()["paths"].items()
        for method in each
    }
    return sorted(paths)


def test_another_address_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UserError, match="token"):
            Settings(host=host)
        assert Settings(host=host, token=TOKEN).host == host
    assert Settings().host == "127.0.0.1"
    with pytest.raises(UserError, match="16"):
        Settings(token="short")
    assert TOKEN not in repr(Settings(token=TOKEN))


def test_every_route_but_liveness_asks_for_the_token(guarded: TestClient) -> None:
    found = routes(guarded.app)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert len(found) > 20 and ("GET", LIVE) in found
    for method, path in found:
        answer = guarded.request(method, path)
        if path == LIVE:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] and TOKEN not in answer.text
    assert guarded.get("/nothing").status_code == 401


@pytest.mark.parametrize(
    "told", ["", "Bearer", "Bearer wrong", f"Token {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
def test_wrong_tokens_are_refused(guarded: TestClient, told: str) -> None:
    assert guarded.get("/v1", headers={"Authorization": told}).status_code == 401


def test_the_right_token_opens_as_bearer_and_as_the_password_of_a_browser(guarded: TestClient) -> None:
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for told in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        assert guarded.get("/v1", headers={"Authorization": told}).status_code == 200
    assert told_token("Basic ###") == "" and told_token("Basic " + base64.b64encode(b"\xff").decode()) == ""


def test_tokens_are_compared_in_constant_time(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(access, "hmac", Watched)
    for told in ("x", TOKEN, "y" * 5_000):
        guarded.get("/v1", headers={"Authorization": f"Bearer {told}"})
    assert compared == [(32, 32)] * 3


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example:8000", "[::1", "0.0.0.0"]
)
def test_a_server_of_this_machine_answers_to_its_own_names_alone(client: TestClient, host: str) -> None:
    assert client.get("/v1", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1", headers={"Host": host}).status_code == 200
    assert host_name(host) in ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[bad"},
    ],
)
def test_pages_of_other_sites_may_not_ask(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/embed", json={"sequences": ["MKV"]}, headers=headers).status_code == 403
    assert client.delete("/v1/jobs/x", headers=headers).status_code == 403


def test_own_pages_and_programs_may_ask(client: TestClient) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "same-origin", "Origin": BASE}, {"Sec-Fetch-Site": "none"}):
        assert client.post("/v1/embed", json={"sequences": ["MKV"]}, headers=headers).status_code == 200
    assert not is_foreign({"host": "a:1", "origin": "http://a:1"})


def test_nothing_is_allowed_across_origins(client: TestClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.options("/v1/embed", headers=asked), client.get("/v1", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1", LIVE, "/nothing", "/openapi.json", "/metrics"])
def test_every_answer_has_the_headers_that_tell_browsers_to_trust_nothing(client: TestClient, path: str) -> None:
    for answer in (client.get(path), client.post(path, content=b"{"), client.get(path, headers={"Host": "evil"})):
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_scripts_come_from_this_server_alone_and_never_inline() -> None:
    rules = {name: value for name, _, value in (rule.strip().partition(" ") for rule in CSP.split(";"))}
    assert rules["default-src"] == "'none'" and rules["script-src"] == "'self'"
    assert "unsafe-inline" not in rules["script-src"] and "unsafe-eval" not in CSP and "http" not in CSP


def test_no_documentation_page_fetches_from_other_hosts(client: TestClient) -> None:
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def payloads(num: int) -> list[str]:
    """Texts that mean another place to something that makes paths of them."""
    source = random.Random(0)
    ups = [
        "../",
        "..\\",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%2f",
        "..%5c",
        "%252e%252e%252f",
        "....//",
        "..;/",
        "%c0%ae%c0%ae/",
        "//",
    ]
    ends = [
        "etc/passwd",
        "etc/shadow",
        "proc/self/environ",
        "openankh.json",
        "model.safetensors",
        "windows/win.ini",
        ".git/config",
    ]
    roots = [
        "",
        "/",
        "//",
        "file:///",
        "\\\\host\\share\\",
        "C:\\",
        "~/",
        "%00",
        "./",
        "con",
        "nul",
        "aux.",
        "\x7f",
        "‥/",
        "\uff052e",
    ]
    made = {
        "".join([source.choice(roots), *source.choices(ups, k=source.randint(1, 9)), source.choice(ends)])
        for _ in range(3 * num)
    }
    return sorted(made)[:num]


def test_a_thousand_paths_lead_nowhere(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for name in ("open", "stat", "is_file", "is_dir", "exists", "read_bytes", "read_text", "resolve"):
        monkeypatch.setattr(Path, name, lambda self, *_, **__: opened.append(str(self)))
    found = payloads(1_000)
    assert len(found) == 1_000
    for number, payload in enumerate(found):
        place = number % 6
        if place == 0:
            answer = client.get(f"/v2/models/{payload}")
        elif place == 1:
            answer = client.get(f"/v1/jobs/{payload}/result")
        elif place == 2:
            answer = client.post(f"/v1/predict/{payload}", json={"sequences": ["MKV"]})
        elif place == 3:
            answer = client.post("/v1/embed", json={"sequences": ["MKV"], "model": payload})
        elif place == 4:
            answer = client.post("/v1/search", json={"sequences": ["MKV"], "against": payload})
        else:
            answer = client.post("/v1/embed", json={"sequences": [{"id": payload, "sequence": "MKV"}]})
            assert answer.status_code == 200 and answer.json()["embeddings"][0]["id"] == payload
            continue
        assert answer.status_code in (301, 307, 400, 404, 405, 422), (payload, answer.status_code)
        assert "root:" not in answer.text
    assert not opened


def test_log_lines_hold_no_control_characters_and_no_secrets(
    guarded: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "openankh.serve.access"):
        guarded.get(
            "/a%0aINFO%20forged%1b[31m%e2%80%ae", params={"token": TOKEN}, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        guarded.get("/" + "x" * 5_000)
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert line.isprintable() and TOKEN not in line and len(line) < 300
    assert "/a\\x0aINFO\\x20forged\\x1b[31m\\u202e" in caplog.messages[0]


@pytest.mark.parametrize("letter", ["\n", "\r", "\x00", "\x1b", "\x85", "\u2028", " ", "\\"])
def test_each_letter_that_could_forge_a_line_is_escaped(letter: str) -> None:
    shown = harmless(f"a{letter}b")
    assert shown.isprintable() and " " not in shown and shown.startswith("a\\") and shown.endswith("b")


def test_messages_quote_what_was_sent_in_one_harmless_line(client: TestClient) -> None:
    for letters in ("MK\x1b[31mV", "MK<script>", "MK\u202eV", "MK\nV1"):
        message = client.post("/v1/embed", json={"sequences": [letters]}).json()["error"]["message"]
        assert message.isprintable()
    assert client.post("/v1/embed", json={"sequences": ["<script>"]}).headers["content-type"] == "application/json"
