"""Limits: bodies, counts, lengths, nesting are refused at the byte that is too many, plain, chunked or compressed."""

import gzip
import json
import random
from collections.abc import Callable, Iterator

import anyio
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from openankh.serve.app import create_app
from openankh.serve.body_scan import JsonBounds, JsonScan
from openankh.serve.model_host import ModelHost
from openankh.serve.problems import Problem
from openankh.serve.request_body import RequestBody
from openankh.serve.settings import Limits
from serve_samples import served_model, small_limits, small_settings

__all__ = ["served_model"]

JSON = {"content-type": "application/json"}
PIECE = 1_000


@pytest.fixture(scope="module")
def client(served_model: ModelHost) -> Iterator[TestClient]:
    with TestClient(create_app(small_settings(), served_model), base_url="http://127.0.0.1") as client:
        yield client


class Exchange:
    """One request straight into the reader of bodies, piece by piece; counts what of it was read."""

    def __init__(self, body: bytes, headers: dict[str, str], limits: Limits) -> None:
        self.pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)] or [b""]
        self.num_pieces, self.num_read = len(self.pieces), 0
        self.status, self.seen = 0, b""
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embed",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        anyio.run(self._run, limits)

    async def _run(self, limits: Limits) -> None:
        await RequestBody(self._app, limits)(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self.num_read += 1
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)

    async def _app(self, scope: object, receive: Callable, send: Callable) -> None:
        self.status, self.seen = 200, (await receive())["body"]


def exchange(body: bytes, **headers: str) -> Exchange:
    return Exchange(body, {name.replace("_", "-"): value for name, value in headers.items()}, small_limits())


def test_a_body_within_the_limits_goes_through_unchanged() -> None:
    body = json.dumps({"sequences": ["MKV"]}).encode()
    assert exchange(body).seen == body
    assert exchange(gzip.compress(body), content_encoding="gzip").seen == body


def test_a_told_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    found = exchange(b" " * 50_000, content_length="50000")
    assert found.status == 413 and found.num_read == 0


def test_a_chunked_body_is_refused_at_the_piece_that_is_too_many() -> None:
    found = exchange(b" " * 50_000)
    assert found.status == 413 and found.num_read == 21 and found.num_pieces == 50


def test_a_bomb_is_refused_before_it_is_read_whole() -> None:
    bomb = gzip.compress(bytes(400 << 20), 1)
    found = exchange(bomb, content_encoding="gzip")
    assert found.status == 413 and found.num_read <= 2 and found.num_pieces > 1_000


def test_a_protein_that_is_too_long_is_refused_before_the_body_is_read_whole() -> None:
    found = exchange(b'{"sequences": ["' + b"A" * 19_000 + b'"]}')
    assert found.status == 422 and found.num_read < found.num_pieces


def test_too_many_proteins_are_refused_before_the_body_is_read_whole() -> None:
    for body in (b'{"sequences": [' + b'"A",' * 4_000, gzip.compress(b'{"sequences": [' + b'"A",' * 4_000)):
        is_packed = body[:1] != b"{"
        found = exchange(body, **({"content_encoding": "gzip"} if is_packed else {}))
        assert found.status == 422 and (is_packed or found.num_read < found.num_pieces)


@pytest.mark.parametrize("body", [b"[" * 10_000, b'{"a":' * 4_000, b'{"sequences": ' + b"[" * 9_000])
def test_deep_nesting_is_refused_at_once(body: bytes) -> None:
    found = exchange(body)
    assert found.status == 422 and found.num_read == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"no gzip", {"content_encoding": "gzip"}, 400),
        (gzip.compress(b"{}")[:-4], {"content_encoding": "gzip"}, 400),
        (gzip.compress(b"{}") + b"more", {"content_encoding": "gzip"}, 400),
        (b"{}", {"content_encoding": "br"}, 415),
        (b"{}", {"content_encoding": "gzip, gzip"}, 415),
        (b"{}", {"content_length": "2x"}, 400),
        (b"{}", {"content_length": "-1"}, 400),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, headers: dict[str, str], status: int) -> None:
    assert exchange(body, **headers).status == status


def test_all_bodies_together_are_bounded() -> None:
    limits = small_limits(bodies_bytes=3_000)
    assert Exchange(b" " * 2_000, {}, limits).status == 200
    assert Exchange(b" " * 4_000, {}, limits).status == 503


def test_a_body_that_drips_is_cut() -> None:
    async def never() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def run() -> int:
        statuses: list[int] = []

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        async def app(scope: object, receive: object, send: object) -> None:
            raise AssertionError("the body never came")

        scope = {"type": "http", "method": "POST", "path": "/v1/embed", "headers": []}
        await RequestBody(app, small_limits(body_seconds=0.01))(scope, never, send)
        return statuses[0]

    assert anyio.run(run) == 408


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def longest_of(value: object) -> int:
    """Bytes of the longest string as JSON writes it."""
    if isinstance(value, str):
        return len(json.dumps(value)) - 2
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return max(map(longest_of, parts), default=0)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 6), st.integers(0, 30), st.randoms(use_true_random=False))
def test_depth_and_length_are_judged_exactly_however_the_document_is_cut(
    value: object, depth: int, longest: int, source: random.Random
) -> None:
    text = json.dumps(value).encode()
    scan = JsonScan(JsonBounds(depth, 1_000_000, longest))
    is_refused = False
    try:
        start = 0
        while start < len(text):
            end = start + source.randint(1, 7)
            scan.feed(text[start:end])
            start = end
    except Problem:
        is_refused = True
    assert is_refused == (depth_of(value) > depth or longest_of(value) > longest)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"sequences": ["A" * 201]}, "200 are the most"),
        ({"sequences": ["A"] * 6}, "5 a request are the most"),
        ({"sequences": ["A" * 200] * 4}, "600 a request are the most"),
    ],
)
def test_counts_and_lengths_are_refused_with_the_limit(client: TestClient, body: dict, part: str) -> None:
    answer = client.post("/v1/embed", json=body)
    assert answer.status_code == 422 and part in answer.json()["error"]["message"]


def test_too_many_variants_or_residues_to_write_are_refused(client: TestClient) -> None:
    body = {"sequence": "MKV", "variants": ["K2A"] * 51}
    assert client.post("/v1/score", json=body).status_code == 422
    assert client.post("/v1/complete", json={"sequences": ["MKV"], "length": 900}).status_code == 422
    assert client.post("/v1/complete", json={"sequences": ["MKV"], "length": 90, "method": "beam"}).status_code == 422


def test_an_answer_of_too_many_numbers_is_refused_before_it_is_computed(served_model: ModelHost) -> None:
    app = create_app(small_settings(answer_numbers=100, json_numbers=50), served_model)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.post("/v1/embed", json={"sequences": ["A" * 10], "pool": "residues"}).status_code == 422
        body = {"sequences": ["A" * 5], "pool": "residues"}
        refused = client.post("/v1/embed", json=body)
        assert refused.status_code == 422 and "safetensors" in refused.json()["error"]["message"]
        kind = {"Accept": "application/vnd.safetensors"}
        assert client.post("/v1/embed", json=body, headers=kind).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nan", b"\xff\xfe", b'{"sequences": ["\\ud800"]}', b"[]", b'"x"', b"1e999"]
)
@pytest.mark.parametrize("path", ["/v1/embed", "/v1/score", "/v1/complete", "/v1/embeddings", "/v1/search"])
def test_what_is_no_request_is_told_so(client: TestClient, body: bytes, path: str) -> None:
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code in (400, 422) and answer.json()["error"]["message"]


def test_a_body_that_is_not_json_is_refused(client: TestClient) -> None:
    body = json.dumps({"sequences": ["MKV"]})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert client.post("/v1/embed", content=body, headers={"content-type": kind}).status_code in (415, 422)
