"""The API: every answer is what the library gives offline, in every form; jobs, metadata, meters, the document."""

import base64
import io
import json
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from safetensors.numpy import load as load_safetensors

from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.serving import Serving
from serve_samples import NAME, served_model, small_settings

__all__ = ["served_model"]

PROTEINS = ["MKTAYIAKQR", "MVLSPADKTNVKAAWGKVGA", "ACDEFGHIKLMNPQRSTVWY"]
BASE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def client(served_model: ModelHost) -> Iterator[TestClient]:
    with TestClient(create_app(small_settings(), served_model), base_url=BASE) as client:
        yield client


def serving(client: TestClient) -> Serving:
    return client.app.state.serving  # type: ignore[attr-defined]  # pyright: ignore


@pytest.mark.parametrize(
    "options", [{}, {"pool": "max"}, {"pool": "residues", "layer": [0, -1]}, {"states": "decoder"}]
)
def test_embeddings_are_those_of_the_library(client: TestClient, served_model: ModelHost, options: dict) -> None:
    answer = client.post("/v1/embed", json={"sequences": PROTEINS, **options}).json()
    exact = [array for _, array in served_model.loaded.embed(PROTEINS, **options)]
    for found, array in zip(answer["embeddings"], exact, strict=True):
        assert np.allclose(np.array(found["embedding"], np.float32), array, rtol=0, atol=1e-6)
    assert [found["length"] for found in answer["embeddings"]] == [10, 20, 20]


@pytest.mark.parametrize("kind", ["application/vnd.safetensors", "application/x-npz"])
def test_binary_answers_hold_the_same_numbers_as_json(client: TestClient, kind: str) -> None:
    body = {"sequences": [{"id": "a/../b", "sequence": PROTEINS[0]}, PROTEINS[1]], "pool": "residues"}
    as_json = client.post("/v1/embed", json=body).json()["embeddings"]
    answer = client.post("/v1/embed", json=body, headers={"Accept": kind})
    assert answer.headers["content-type"] == kind
    is_npz = kind.endswith("npz")
    arrays = (
        dict(np.load(io.BytesIO(answer.content), allow_pickle=False)) if is_npz else load_safetensors(answer.content)
    )
    for number, found in enumerate(as_json):
        assert np.array_equal(arrays[str(number)], np.array(found["embedding"], np.float32))
    if is_npz:
        assert json.loads(str(arrays["ids"])) == ["a/../b", "2"]


def test_ids_come_back_as_they_were_sent(client: TestClient) -> None:
    ids = ["../../etc/passwd", "<script>alert(1)</script>", "=cmd()", "emoji 🧬", "a\nb", ""]
    for name in ids:
        body = {"sequences": [{"id": name, "sequence": "MKV"}]}
        assert client.post("/v1/embed", json=body).json()["embeddings"][0]["id"] == (name or "1")


def test_scores_are_those_of_the_library(client: TestClient, served_model: ModelHost) -> None:
    body = {"sequence": PROTEINS[0], "variants": ["K2A", "K2del", "WT"], "method": "likelihood"}
    found = client.post("/v1/score", json=body).json()["scores"]
    exact = served_model.loaded.score(PROTEINS[0], ["K2A", "K2del", "WT"], method="likelihood")
    assert [(each["variant"], each["raw"], each["calibrated"]) for each in found] == [
        (each.variant.name, each.raw, each.calibrated) for each in exact
    ]


def test_a_scan_is_that_of_the_library(client: TestClient, served_model: ModelHost) -> None:
    found = client.post("/v1/score", json={"sequence": PROTEINS[0]}).json()
    scan = served_model.loaded.scan(PROTEINS[0])
    assert np.array_equal(np.array(found["raw"]), scan.raw_L20)
    assert np.array_equal(np.array(found["calibrated"]), scan.calibrated_L20)
    assert found["wild_type"] == PROTEINS[0] and len(found["amino_acids"]) == 20


def test_completions_are_those_of_the_library(client: TestClient, served_model: ModelHost) -> None:
    body = {"sequences": PROTEINS, "keep": 0.5, "method": "sample", "num": 3, "seed": 7}
    found = client.post("/v1/complete", json=body).json()["completions"]
    exact = list(served_model.loaded.complete(PROTEINS, keep=0.5, method="sample", num=3, seed=7))
    assert [each["sequence"] for each in found] == [each.sequence for each in exact]
    assert found[0]["perplexity"] == pytest.approx(exact[0].perplexity)


@pytest.mark.parametrize("given", [PROTEINS[0], PROTEINS])
def test_clients_of_openai_get_what_they_expect(client: TestClient, given: str | list[str]) -> None:
    plain = client.post("/v1/embed", json={"sequences": PROTEINS}).json()["embeddings"]
    answer = client.post("/v1/embeddings", json={"input": given, "model": NAME, "user": "x"}).json()
    packed = client.post("/v1/embeddings", json={"input": given, "encoding_format": "base64"}).json()
    for number, (found, coded) in enumerate(zip(answer["data"], packed["data"], strict=True)):
        assert found["index"] == number and found["object"] == "embedding"
        assert np.array_equal(
            np.frombuffer(base64.b64decode(coded["embedding"]), "<f4"), np.float32(found["embedding"])
        )
        assert np.allclose(found["embedding"], plain[number]["embedding"], atol=1e-6)
    assert client.get("/v1/models").json()["data"][0]["id"] == NAME


def test_work_in_the_background_is_a_job_with_progress_and_a_result(client: TestClient) -> None:
    body = {"sequences": PROTEINS, "pool": "residues"}
    told = client.post("/v1/embed", json=body, headers={"Prefer": "respond-async"})
    assert told.status_code == 202 and told.headers["location"] == f"/v1/jobs/{told.json()['id']}"
    job = ended(client, told.json()["id"])
    assert job["state"] == "done" and job["progress"] == {"done": 3, "total": 3}
    assert client.get(job["result"]).json() == client.post("/v1/embed", json=body).json()
    binary = client.get(job["result"], headers={"Accept": "application/x-npz"})
    assert "0" in np.load(io.BytesIO(binary.content))
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert client.get(job["result"]).status_code == 404


def test_a_job_that_fails_says_why(client: TestClient) -> None:
    body = {"sequence": "MKV", "variants": ["A1V"]}
    told = client.post("/v1/score", json=body, headers={"Prefer": "respond-async"}).json()
    job = ended(client, told["id"])
    assert job["state"] == "failed" and "expected A" in job["error"]["message"]
    assert client.get(f"/v1/jobs/{job['id']}/result").status_code == 422


def test_a_job_that_is_cancelled_stops(client: TestClient) -> None:
    begun, gate = threading.Event(), threading.Event()
    serving(client).tasks.submit(lambda: (begun.set(), gate.wait(30)))
    assert begun.wait(30)
    try:
        told = client.post("/v1/score", json={"sequence": "MKV"}, headers={"Prefer": "respond-async"}).json()
        assert client.get(f"/v1/jobs/{told['id']}/result").status_code == 202
        assert client.delete(f"/v1/jobs/{told['id']}").json()["id"] == told["id"]
        assert client.get(f"/v1/jobs/{told['id']}").status_code == 404
    finally:
        gate.set()


def test_what_takes_too_long_to_wait_for_becomes_a_job(served_model: ModelHost) -> None:
    with TestClient(create_app(small_settings(answer_seconds=0), served_model), base_url=BASE) as client:
        told = client.post("/v1/complete", json={"sequences": PROTEINS, "keep": 0.5})
        assert told.status_code == 202
        assert ended(client, told.json()["id"])["state"] == "done"


def ended(client: TestClient, job_id: str) -> dict:
    """The job when it has ended; asks again and again, for nothing here takes long."""
    while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] not in ("done", "failed", "cancelled"):
        pass
    return job


def test_health_and_metadata_are_where_kserve_looks_for_them(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "openankh"
    model = client.get(f"/v2/models/{NAME}").json()
    assert model["name"] == NAME and model["outputs"][0]["shape"] == [-1, 16]
    assert client.get(f"/v2/models/{NAME}/ready").status_code == 200
    assert client.get(f"/v2/models/{NAME}/versions/{model['versions'][0]}").json() == model
    assert client.get(f"/v2/models/{NAME}/versions/{model['versions'][0]}/ready").status_code == 200
    assert client.get("/v2/models/other").status_code == 404
    assert client.get(f"/v2/models/{NAME}/versions/9").status_code == 404


def test_a_server_that_stops_is_not_ready_and_takes_nothing(served_model: ModelHost) -> None:
    app = create_app(small_settings(), served_model)
    with TestClient(app, base_url=BASE) as client:
        app.state.serving.engine.stop(seconds=10)
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 503
        refused = client.post("/v1/embed", json={"sequences": ["MKV"]})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1


def test_meters_count_what_was_served(client: TestClient) -> None:
    def counted(line: str) -> float:
        found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    name = 'openankh_requests_total{method="POST",route="/v1/embed",status="200"}'
    requests, proteins = counted(name), counted("openankh_proteins_total")
    client.post("/v1/embed", json={"sequences": PROTEINS})
    assert counted(name) == requests + 1 and counted("openankh_proteins_total") == proteins + 3
    client.get("/v1/nonsense/<b>")
    assert "<b>" not in client.get("/metrics").text


def test_every_example_of_the_document_is_served(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    num_tried = 0
    for path, methods in document["paths"].items():
        body = methods.get("post", {}).get("requestBody")
        if body is None or "{task}" in path or path == "/v1/search":
            continue
        schema = schemas[body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        for example in schema["examples"]:
            example.pop("model", None)
            assert client.post(path, json=example).status_code == 200, path
            num_tried += 1
    assert num_tried == 4


def test_what_is_served_is_told(client: TestClient) -> None:
    told = client.get("/v1").json()
    assert told["model"] == NAME and told["limits"]["residues"] == 200 and "M" in told["letters"]


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("/v1/embed", {"sequences": ["MKV", "MK1"]}, 422, "sequences[1]"),
        ("/v1/embed", {"sequences": ["MKV", ""]}, 422, "sequences[1]"),
        ("/v1/embed", {"sequences": ["MKV"], "pol": "mean"}, 422, "pol"),
        ("/v1/embed", {"sequences": ["MKV"], "model": "other"}, 404, "model"),
        ("/v1/embed", {"sequences": ["MKV"], "layer": 7}, 422, None),
        ("/v1/score", {"sequence": "MKV", "variants": ["A1V"]}, 422, None),
        ("/v1/complete", {"sequences": ["MKV"], "keep": 9}, 422, None),
        ("/v1/embeddings", {"input": "MKV", "dimensions": 3}, 422, "dimensions"),
        ("/v1/predict/none", {"sequences": ["MKV"]}, 404, "task"),
        ("/v1/search", {"sequences": ["MKV"]}, 404, "against"),
    ],
)
def test_mistakes_are_told_with_their_place(
    client: TestClient, path: str, body: dict, status: int, where: str | None
) -> None:
    answer = client.post(path, json=body)
    error = answer.json()["error"]
    assert answer.status_code == status and error["message"]
    if where:
        assert where in error["where"]


def test_a_form_that_there_is_not_is_refused(client: TestClient) -> None:
    assert client.post("/v1/embed", json={"sequences": ["MKV"]}, headers={"Accept": "text/html"}).status_code == 406
    kind = {"Accept": "application/x-npz"}
    assert client.post("/v1/complete", json={"sequences": PROTEINS, "keep": 3}, headers=kind).status_code == 406


def test_an_unexpected_failure_is_503_in_one_line(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(ModelHost, "embed", fail)
    answer = client.post("/v1/embed", json={"sequences": ["MKV"]})
    assert answer.status_code == 503 and "secret" not in answer.text and answer.headers["retry-after"]
