"""Predictors and proteins to search among, behind the server: the answers are those of the library."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from openankh import cli
from openankh.errors import UserError
from openankh.lookup.lookup import Lookup
from openankh.search.answers import answer_object
from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import NamedFolder, Settings
from openankh.tasks.artifact import Artifact, Origin, load_artifact, save_artifact
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.heads.head import HeadConfig
from openankh.tasks.predicting import Predictions
from openankh.tasks.predictor import Predictor
from openankh.tasks.target_space import Classes, Contacts, Labels, Numbers, TargetSpace
from serve_samples import served_model, small_limits, small_settings

__all__ = ["served_model"]

PROTEINS = ["MKTAYIAKQR", "MVLSPADKTNVKAAWGKVGA"]
KINDS = {
    "residues": ("residue", Classes(("C", "E", "H"))),
    "names": ("protein", Classes(("inside", "outside"))),
    "labels": ("protein", Labels(("a", "b", "c"))),
    "number": ("protein", Numbers(2.0, 3.0)),
    "contacts": ("pair", Contacts()),
}


@dataclass(frozen=True)
class Served:
    """A server with something to predict and to search, and where that lies."""

    client: TestClient
    folder: Path
    settings: Settings


def made(model: ModelHost, unit: str, space: TargetSpace) -> Artifact:
    config = HeadConfig("linear", unit, 16, space.num_outputs, pool="mean" if unit == "protein" else None)  # type: ignore[arg-type]  # pyright: ignore
    pool = "mean" if unit == "protein" else "residues"
    pre = Preprocessing("tiny", model.loaded.sha256, 2, pool, "[NLU]", "fp32", "fp32", 16)
    return Artifact(Predictor(config, space, seed=3).eval(), pre, Origin("made-up", "A predictor made up"), {})


@pytest.fixture(scope="module")
def served(served_model: ModelHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("known")
    for name, (unit, space) in KINDS.items():
        save_artifact(made(served_model, unit, space), folder / name, ())
    fasta = folder / "known.fasta"
    source = np.random.default_rng(0)
    known = ["".join(source.choice(list("ACDEFGHIKLMNPQRSTVWY"), 20)) for _ in range(12)]
    fasta.write_text("".join(f">K{n} family={n % 3}\n{sequence}\n" for n, sequence in enumerate([*PROTEINS, *known])))
    words = ["embed", str(fasta), "-o", str(folder / "store"), "-m", str(served_model.loaded.folder)]
    assert cli.main([*words, "--precision", "fp32", "--quiet"]) == 0
    settings = replace(
        small_settings(),
        predictors=tuple(NamedFolder(name, folder / name) for name in KINDS),
        searched=(NamedFolder("plain", folder / "store"),),
    )
    with TestClient(create_app(settings, served_model), base_url="http://127.0.0.1") as client:
        yield Served(client, folder, settings)


@pytest.mark.parametrize("name", KINDS)
def test_predictions_are_those_of_the_library(served: Served, served_model: ModelHost, name: str) -> None:
    artifact = load_artifact(served.folder / name)
    exact = list(Predictions(artifact, served_model.loaded.embedder(artifact.preprocessing.options)).predict(PROTEINS))
    answer = served.client.post(f"/v1/predict/{name}", json={"sequences": PROTEINS}).json()
    assert answer["task"] == name and answer["unit"] == KINDS[name][0]
    for found, right in zip(answer["predictions"], exact, strict=True):
        if right.probabilities is not None:
            shown = np.array(found["probabilities"], np.float32)
            assert np.allclose(shown, right.probabilities.reshape(shown.shape), atol=1e-5)
        if isinstance(right.values, float):
            assert found["value"] == pytest.approx(right.values, abs=1e-4)
        elif isinstance(right.values, tuple):
            assert found["value"] == "".join(right.values)


def test_probabilities_can_be_left_out(served: Served) -> None:
    body = {"sequences": PROTEINS, "probabilities": False}
    answer = served.client.post("/v1/predict/residues", json=body).json()
    assert answer["predictions"][0]["probabilities"] is None and len(answer["predictions"][0]["value"]) == 10
    assert answer["classes"] == ["C", "E", "H"]


def test_more_pairs_than_an_answer_holds_are_refused(served: Served, served_model: ModelHost) -> None:
    app = create_app(replace(served.settings, limits=small_limits(answer_numbers=1_000)), served_model)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.post("/v1/predict/contacts", json={"sequences": ["M" * 40]}).status_code == 422
        assert client.post("/v1/predict/contacts", json={"sequences": ["M" * 10]}).status_code == 200


def test_what_can_be_predicted_is_told(served: Served) -> None:
    told = {each["name"]: each for each in served.client.get("/v1").json()["predictors"]}
    assert set(told) == set(KINDS) and told["labels"]["classes"] == ["a", "b", "c"]
    assert served.client.get("/v1").json()["searched"] == [{"name": "plain", "proteins": 14, "labels": []}]


@pytest.mark.parametrize("against", [None, "plain"])
def test_neighbours_are_those_of_the_library(served: Served, served_model: ModelHost, against: str | None) -> None:
    body = {"sequences": PROTEINS, "k": 3, "exclude_self": True, "against": against}
    answer = served.client.post("/v1/search", json=body).json()
    lookup = Lookup.open(served.folder / "store", model=str(served_model.loaded.folder))
    exact = [answer_object(each) for each in lookup.search(PROTEINS, 3, exclude_self=True)]
    assert [[each["id"] for each in found["neighbours"]] for found in answer["answers"]] == [
        [each["id"] for each in found["neighbours"]] for found in exact
    ]
    assert answer["against"] == "plain"
    assert served.client.post("/v1/search", json={**body, "against": "../x"}).status_code == 404


def test_a_predictor_of_another_model_or_none_is_one_line_at_the_start(
    served: Served, served_model: ModelHost, tmp_path: Path
) -> None:
    other = made(served_model, "protein", Numbers())
    other = replace(other, preprocessing=replace(other.preprocessing, model="nowhere/at-all", model_sha256="0" * 64))
    save_artifact(other, tmp_path / "other", ())
    for folder in (tmp_path / "other", tmp_path / "missing"):
        settings = replace(served.settings, offline=True, predictors=(NamedFolder("x", folder),))
        with pytest.raises(UserError) as caught:
            create_app(settings, served_model)
        assert "\n" not in str(caught.value)
    settings = replace(served.settings, searched=(NamedFolder("x", tmp_path / "missing"),))
    with pytest.raises(UserError, match="missing"):
        create_app(settings, served_model)
