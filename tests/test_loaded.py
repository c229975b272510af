"""`openankh.load`: names, devices, types, and embedding by way of the loaded model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants

import openankh
from hub_server import laid_out
from model_folders import random_model
from openankh import hardware, loaded
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.published import published_model
from openankh.vocab import ANKH

SEQUENCES = ["MKTAYIAKQR", "G", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(random_model(), ANKH, path, Provenance("tiny", "Apache-2.0"))
    return path


@pytest.fixture
def model(folder: Path) -> loaded.LoadedModel:
    return openankh.load(folder, dtype="fp32", device="cpu")


def test_a_loaded_model_knows_its_name_folder_and_provenance(folder: Path, model: loaded.LoadedModel):
    assert isinstance(model, openankh.LoadedModel)
    assert (model.name, model.folder, model.dtype) == (str(folder), folder, "fp32")
    assert model.device == torch.device("cpu") and model.vocab == ANKH
    assert model.provenance is not None and model.provenance.name == "tiny"


def test_a_model_of_the_hub_knows_its_commit_and_is_found_again_by_its_pinned_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    published = published_model("ankh-base")
    assert published is not None and published.revision is not None
    commit = published.revision
    names = {path.name for path in folder.iterdir()}
    laid_out(tmp_path, "ElnaggarLab/ankh-base", folder, commit, names - {"openankh.json"})
    laid_out(tmp_path, "ada/tiny", folder, commit, names)
    model = openankh.load("ankh-base", "cpu", offline=True)
    assert (model.name, model.revision, model.pinned_name) == ("ankh-base", commit, f"ankh-base@{commit}")
    assert model.provenance == Provenance("ankh-base", "CC-BY-NC-SA-4.0", {}, "", f"ElnaggarLab/ankh-base@{commit}")
    again = openankh.load(model.pinned_name, "cpu", offline=True)
    assert again.sha256 == model.sha256 == openankh.load(folder).sha256 and again.folder == model.folder
    ours = openankh.load("ada/tiny", "cpu", offline=True).provenance
    assert ours is not None and (ours.name, ours.source) == ("tiny", f"ada/tiny@{commit}")


def test_a_local_model_has_no_revision_and_keeps_where_it_came_from(folder: Path, tmp_path: Path):
    model = openankh.load(folder)
    assert (model.revision, model.pinned_name) == ("", str(folder))
    save_model(random_model(), ANKH, tmp_path / "tuned", Provenance("tuned", "MIT", source="ElnaggarLab/ankh-base@c0"))
    provenance = openankh.load(tmp_path / "tuned").provenance
    assert provenance is not None and provenance.source == "ElnaggarLab/ankh-base@c0"


def test_embedding_gives_each_record_with_its_array_in_input_order(model: loaded.LoadedModel):
    pairs = list(model.embed(SEQUENCES, pool="residues"))
    assert [record.sequence for record, _ in pairs] == SEQUENCES
    assert [record.id for record, _ in pairs] == ["1", "2", "3"]
    assert [array.shape for _, array in pairs] == [(len(sequence), 16) for sequence in SEQUENCES]
    for (_, pooled), (_, rows) in zip(model.embed(SEQUENCES), pairs, strict=True):
        np.testing.assert_allclose(pooled, rows.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_file_records_and_sequences_give_the_same_numbers(model: loaded.LoadedModel, tmp_path: Path):
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(f">p{number} a protein\n{text.lower()}\n" for number, text in enumerate(SEQUENCES)))
    records = [Record(f"p{number}", "a protein", text, 1) for number, text in enumerate(SEQUENCES)]
    expected = [array for _, array in model.embed(iter(SEQUENCES))]
    for source in (path, str(path), records, [text.lower() for text in SEQUENCES]):
        pairs = list(model.embed(source))
        assert all(np.array_equal(array, other) for (_, array), other in zip(pairs, expected, strict=True))
    assert [record.id for record, _ in model.embed(path)] == ["p0", "p1", "p2"]


def test_the_encoder_alone_embeds_the_same(folder: Path, model: loaded.LoadedModel):
    encoder = openankh.load(str(folder), "cpu", "fp32", part="encoder")
    for (_, one), (_, other) in zip(encoder.embed(SEQUENCES), model.embed(SEQUENCES), strict=True):
        assert np.array_equal(one, other)


def test_unknown_letters_are_refused_or_read_as_x(model: loaded.LoadedModel, tmp_path: Path):
    (tmp_path / "a.fasta").write_text(">a\nMKJ\n")
    (tmp_path / "b.fasta").write_text(">a\nMKX\n")
    with pytest.raises(UserError, match="'J' is no residue"):
        list(model.embed(tmp_path / "a.fasta"))
    ((_, array),) = model.embed(tmp_path / "a.fasta", unknown="x")
    ((_, expected),) = model.embed(tmp_path / "b.fasta")
    assert np.array_equal(array, expected)
    with pytest.raises(UserError, match=r"record '2'.*column 3: '-'"):
        list(model.embed(["MKT", "MK-"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layer": 9}, "layer 9"), ({"pool": "median"}, "pool 'median'"), ({"prefix": "nlu"}, "prefix nlu")],
)
def test_options_that_cannot_be_served_are_refused_at_once(
    model: loaded.LoadedModel, options: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        model.embed(SEQUENCES, **options)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ("MKTAYIAKQRQISFVKSHFSRQ", "put sequences into a list"),
        ("no-such.fasta", "no-such.fasta"),
        (7, "a int; give a FASTA path"),
        ([b"MKT"], "sequence 1: a bytes"),
        (["MKT", None], "sequence 2: a NoneType"),
    ],
)
def test_what_is_no_sequence_is_refused(model: loaded.LoadedModel, sequences: Any, message: str):
    with pytest.raises(UserError, match=message):
        list(model.embed(sequences))


@pytest.mark.parametrize(
    ("has_bf16", "dtype", "weights", "results"),
    [
        (True, "auto", torch.bfloat16, "bf16"),
        (False, "auto", torch.float32, "fp32"),
        (True, "fp32", torch.float32, "fp32"),
        (False, "bf16", torch.bfloat16, "bf16"),
        (True, "fp16", torch.bfloat16, "fp16"),
        (False, "fp16", torch.float32, "fp16"),
    ],
)
def test_arithmetic_is_never_half_precision(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: Any, weights: torch.dtype, results: str
):
    monkeypatch.setattr(hardware, "multiplies_bf16", lambda device: has_bf16)
    model = openankh.load(folder, "cpu", dtype)
    assert model.model.shared.weight.dtype == weights and model.dtype == results
    ((_, array),) = model.embed(["MKT"])
    assert array.dtype == (np.float16 if dtype == "fp16" else np.float32)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device 'gpu': not one of auto, cpu, cuda, cuda:N, mps"),
        ("cuda:x", "not one of auto"),
        ("cpu:1", "not one of auto"),
        ("cuda:99", r"PyTorch sees \d+ CUDA GPUs here"),
        ("", "not one of auto"),
    ],
)
def test_a_device_that_is_not_there_is_refused(folder: Path, device: str, message: str):
    with pytest.raises(UserError, match=message):
        openankh.load(folder, device)


def test_a_mistyped_type_or_name_is_refused(folder: Path):
    with pytest.raises(UserError, match="dtype 'float32': not one of auto, fp32, bf16, fp16"):
        openankh.load(folder, dtype="float32")  # type: ignore[arg-type]  # pyright: ignore
    with pytest.raises(UserError, match="did you mean ankh-base"):
        openankh.load("ank-base")


def test_a_models_hash_is_that_of_its_files_wherever_they_lie_and_with_or_without_a_list(folder: Path, tmp_path: Path):
    save_model(random_model(), ANKH, tmp_path / "same", Provenance("another name"))
    save_model(random_model(seed=1), ANKH, tmp_path / "other", Provenance("tiny", "Apache-2.0"))
    expected = openankh.load(folder).sha256
    assert len(expected) == 64 and openankh.load(tmp_path / "same").sha256 == expected
    assert openankh.load(tmp_path / "other").sha256 != expected
    (tmp_path / "same" / "openankh.json").unlink()
    assert load_model(tmp_path / "same").manifest is None
    assert openankh.load(tmp_path / "same").sha256 == expected
