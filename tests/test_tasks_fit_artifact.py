"""An artifact says the same after it is read back, bit for bit; rows are computed once; damage is one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest

from embedding_models import proteins
from fit_samples import WIDTH, LetterRows, class_data, contact_data, label_data, number_data, residue_data, sequences
from model_folders import random_model
from openankh.checkpoint import Provenance, save_model
from openankh.errors import UserError
from openankh.store import EmbeddingStore
from openankh.tasks.artifact import is_artifact, load_artifact, require_same_logits
from openankh.tasks.cached_states import cached_states
from openankh.tasks.examples import TaskData
from openankh.tasks.finetuning import BaseModel, Finetuned, HeadChoice, finetune, save_finetuned
from openankh.tasks.fitting import FitOptions
from openankh.tasks.heads.head import HeadName
from openankh.tasks.predicting import Predictions
from openankh.tasks.predictor import row_pool
from openankh.vocab import ankh_vocab

ONCE = FitOptions(epochs=1)


def trained(data: TaskData, name: HeadName, seeds: tuple[int, ...] = (0,)) -> Finetuned:
    return finetune(data, HeadChoice(name, hidden=16), LetterRows(), ONCE, seeds)


def saved(folder: Path, data: TaskData, name: HeadName = "linear") -> Path:
    save_finetuned(trained(data, name), folder / "made", data, LetterRows())
    return folder / "made"


def error_of(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_artifact(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("ankh", "other")):
        save_model(random_model(seed=seed), ankh_vocab(), folder / name, Provenance(name))
    return folder


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (residue_data(), "convbert"),
        (class_data(), "light-attention"),
        (number_data(), "mlp"),
        (label_data(), "linear"),
        (contact_data(), "convbert"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.task.unit,
)
def test_an_artifact_read_back_gives_the_same_bits(data: TaskData, name: HeadName, tmp_path: Path) -> None:
    made = trained(data, name)
    save_finetuned(made, tmp_path / "made", data, LetterRows())
    found = load_artifact(tmp_path / "made")
    assert is_artifact(tmp_path / "made")
    assert found.config == made.artifact.config and found.space == made.artifact.space
    assert found.preprocessing == made.artifact.preprocessing and found.origin == made.artifact.origin
    assert found.metrics == made.artifact.metrics
    for sequence in data.tests["test"].sequences:
        rows = LetterRows().rows(sequence)
        assert found.predictor.outputs(rows).tobytes() == made.artifact.predictor.outputs(rows).tobytes()


def test_the_least_difference_is_noticed(tmp_path: Path) -> None:
    data = class_data()
    one, other = (trained(data, "linear").artifact.predictor for _ in range(2))
    probes = (LetterRows().rows(data.valid.sequences[0]),)
    require_same_logits(one, other, probes)
    other.state_dict()["head.output.bias"].add_(1e-4)
    with pytest.raises(UserError, match="was not kept"):
        require_same_logits(one, other, probes)


def test_an_artifact_holds_weights_names_metrics_and_a_card_and_no_pickle(tmp_path: Path) -> None:
    folder = saved(tmp_path, class_data())
    assert {path.name for path in folder.iterdir()} == {
        "head.safetensors",
        "artifact.json",
        "metrics.json",
        "README.md",
    }
    facts = json.loads((folder / "artifact.json").read_text())
    assert facts["target"] == {"kind": "classes", "names": ["few", "many"]}
    assert facts["preprocessing"]["model_sha256"] == "0" * 64
    card = (folder / "README.md").read_text()
    for part in ("`few`, `many`", "SHA-256", "| test | accuracy |", "openankh predict made IN.fasta", "train 60"):
        assert part in card


def test_the_best_of_several_seeds_is_kept_and_all_are_told() -> None:
    made = trained(class_data(), "linear", (0, 1, 2))
    assert set(made.valid_scores) == {0, 1, 2}
    best = made.artifact.origin.training["seed"]
    assert made.valid_scores[best] == max(made.valid_scores.values())
    assert set(made.artifact.origin.training["valid_by_seed"]) == {"0", "1", "2"}


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    assert "no such artifact" in error_of(tmp_path / "none")
    assert "no artifact" in error_of(tmp_path)
    folder = saved(tmp_path, class_data())
    weights = folder / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert "SHA-256 differs" in error_of(folder)
    weights.write_bytes(content[:-8])
    assert "cut off" in error_of(folder)
    description = folder / "artifact.json"
    facts = json.loads(description.read_text())
    for key, value, message in (
        ("version", 99, "newer openankh"),
        ("head", {}, "damaged"),
        ("target", {"kind": "classes", "names": [1]}, "damaged"),
        ("preprocessing", {"model": "x"}, "damaged"),
        ("target", {"kind": "classes", "names": ["a", "b", "c"]}, "cut off|does not hold"),
    ):
        description.write_text(json.dumps({**facts, key: value}))
        with pytest.raises(UserError, match=message):
            load_artifact(folder)


def test_rows_are_computed_once_and_each_protein_once(models: Path, tmp_path: Path) -> None:
    model = BaseModel(str(models / "ankh")).load("residues")
    twice = [*sequences(6), *sequences(3)]
    found = cached_states(twice, "a task/1", model, tmp_path)
    assert len(found.store) == 6
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = cached_states(twice, "a task/1", model, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    for sequence in twice:
        assert again.rows(sequence).shape == (len(sequence), 16)
        np.testing.assert_array_equal(again.rows(sequence), found.rows(sequence))
    other = cached_states(twice, "a task/1", BaseModel(str(models / "other")).load("residues"), tmp_path)
    assert other.store.folder != found.store.folder and isinstance(found.store, EmbeddingStore)
    assert other.preprocessing.model_sha256 != found.preprocessing.model_sha256


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_predictions_from_sequences_are_those_from_cached_rows(models: Path, tmp_path: Path, name: HeadName) -> None:
    data = class_data(12)
    choice = HeadChoice(name, hidden=8)
    model = BaseModel(str(models / "ankh")).load(row_pool(choice.config(data, 1)))
    every = [sequence for part in data.splits.values() for sequence in part.sequences]
    states = cached_states(every, "made", model, tmp_path)
    made = finetune(data, choice, states, ONCE)
    save_finetuned(made, tmp_path / "made", data, states)
    predictions = Predictions.load(load_artifact(tmp_path / "made"))
    records = proteins([5, 40, 9])
    for record, found in zip(records, predictions.predict(records), strict=True):
        assert found.record == record and found.probabilities is not None
        assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
        alone = next(predictions.predict([record]))
        assert alone.probabilities is not None
        np.testing.assert_allclose(alone.probabilities, found.probabilities, atol=1e-6)
    with pytest.raises(UserError, match=r"not the one that .* was trained on"):
        Predictions.load(load_artifact(tmp_path / "made"), model=str(models / "other"))


def test_a_head_of_other_width_is_built_from_what_the_artifact_says(tmp_path: Path) -> None:
    assert load_artifact(saved(tmp_path, class_data())).config.width == WIDTH
