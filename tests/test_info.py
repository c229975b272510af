"""`openankh info`: every kind of file and folder is told apart, and what is none of them gets one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from hub_server import laid_out
from openankh import cli
from openankh.checkpoint import save_model
from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.inspection import inspect
from openankh.model import Ankh
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.journal import Journal
from openankh.provenance import Provenance
from openankh.store import Embedding, parse_target
from openankh.store import Provenance as EmbeddingProvenance
from openankh.vocab import openankh_vocab

FASTA = ">P1 first\nMKTAYIAK\nQR*\n>P2\nmkv\n>P2\nMB1\n"
PROVENANCE = EmbeddingProvenance("0" * 64, "openankh-nano", "1" * 64, "fp32", "fp32", "encoder", (6,), "mean", "", 4)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fasta"
    path.write_text(FASTA.replace("1", "Q"))
    return path


def test_fasta_is_counted(fasta: Path) -> None:
    seen: list[int] = []
    finding = inspect(str(fasta), on_bytes=seen.append)
    assert (finding.kind, finding.path) == ("FASTA", str(fasta))
    assert finding.facts == {
        "num_proteins": 3,
        "num_residues": 16,
        "shortest": 3,
        "mean_length": 16 / 3,
        "longest": 10,
        "num_lower_case": 3,
        "num_final_stops": 1,
        "num_unknown_letters": 0,
    }
    assert seen[-1] == fasta.stat().st_size


def test_a_corpus_names_its_splits_and_sources(fasta: Path, tmp_path: Path) -> None:
    prepare([fasta], tmp_path / "corpus", PrepareOptions())
    finding = inspect(str(tmp_path / "corpus"))
    assert finding.kind == "corpus"
    assert finding.facts["train"] == {"proteins": 3, "residues": 16, "longest": 10}
    assert finding.facts["sources"] == ["in.fasta"]


@pytest.mark.parametrize(
    ("name", "format_name"), [("e/", "folder"), ("e.h5", "HDF5"), ("e.npz", "NPZ"), ("e.parquet", "Parquet")]
)
def test_embeddings_of_every_format_tell_what_made_them(tmp_path: Path, name: str, format_name: str) -> None:
    with parse_target(str(tmp_path / name)).writing(PROVENANCE) as output:
        output.write([Embedding(protein, 7, np.zeros(4, np.float32)) for protein in ("P1", "P2")])
        output.finish("0" * 64)
    finding = inspect(str(tmp_path / name))
    assert finding.kind == "embeddings"
    assert finding.facts["format"] == format_name
    assert finding.facts["num_proteins"] == 2
    assert {key: finding.facts[key] for key in ("model", "pool", "layers", "width")} == {
        "model": "openankh-nano",
        "pool": "mean",
        "layers": [6],
        "width": 4,
    }


def test_a_model_folder_tells_its_shape_and_where_it_comes_from(tmp_path: Path) -> None:
    vocab = openankh_vocab()
    config = ModelConfig(
        vocab_size=vocab.size, d_model=8, d_ff=16, d_kv=4, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    training = {"recipe": {"name": "tiny", "seed": 1}, "perplexity": 17.5}
    save_model(Ankh(config), vocab, tmp_path / "model", Provenance("my-model", "CC-BY-4.0", training))
    finding = inspect(str(tmp_path / "model"))
    assert finding.kind == "model"
    assert finding.facts["name"] == "my-model"
    assert finding.facts["num_parameters"] == config.num_parameters
    assert finding.facts["training"] == {"recipe": "tiny", "perplexity": 17.5}


def tiny_model(folder: Path, licence: str = "CC-BY-4.0") -> Path:
    vocab = openankh_vocab()
    config = ModelConfig(
        vocab_size=vocab.size, d_model=8, d_ff=16, d_kv=4, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    save_model(Ankh(config), vocab, folder, Provenance("my-model", licence), max_shard_bytes=2000)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub in the place of the user's."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_a_published_name_tells_what_is_known_of_it_before_it_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "ankh3-large", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["repository"] == "ElnaggarLab/ankh3-large" and facts["here"].startswith("no, fetched when")
    assert facts["licence"] == "CC-BY-NC-SA-4.0" and facts["num_parameters"] == 1_879_049_216
    assert inspect("ankh-base@v2").facts["revision"] == "v2"


def test_a_model_of_the_hub_tells_its_commit_licence_and_how_much_of_it_is_here(tmp_path: Path, cache: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / "openankh.json").unlink()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    encoder = {file for name, file in places.items() if name.startswith(("encoder.", "shared."))}
    names = {path.name for path in folder.iterdir()}
    commit = "0123456789abcdef0123456789abcdef01234567"
    laid_out(cache, "ada/whole", folder, commit, names)
    snapshot = laid_out(cache, "ada/part", folder, commit, names - (set(places.values()) - encoder))
    laid_out(cache, "ElnaggarLab/ankh-base", folder, commit, {"config.json", "tokenizer.json"})
    for name, here in [("ada/whole", "whole"), ("ada/part", "encoder"), (str(snapshot), "encoder")]:
        facts = inspect(name).facts
        assert (facts["revision"], facts["licence"], facts["here"], facts["dtype"]) == (commit, "mit", here, "float32")
    assert inspect("ada/part").facts["weights"] == sorted({*encoder, "model.safetensors.index.json"})
    assert inspect(f"ada/whole@{commit}").path == inspect("ada/whole").path
    assert inspect("ankh-base").facts["here"] == "not whole, or another revision"
    (snapshot / min(encoder)).unlink()
    assert inspect(str(snapshot)).facts["here"] == f"not whole, {min(encoder)} is missing"


def test_the_bundled_name_tells_the_bundled_model() -> None:
    assert inspect("openankh-nano").facts["licence"] == "CC-BY-4.0"


@pytest.mark.usefixtures("cache")
def test_a_name_that_is_no_model_here_gets_one_line() -> None:
    for name, message in [("ankhbase", "did you mean ankh-base"), ("ada/none", "a verb that takes -m ada/none")]:
        with pytest.raises(UserError, match=message) as caught:
            inspect(name)
        assert "no such file or folder" in str(caught.value)


def test_a_training_run_tells_how_far_it_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "step-00000004").mkdir(parents=True)
    (run / "best").mkdir()
    recipe = {"name": "nano", "total_steps": 9}
    (run / "run.json").write_text(json.dumps({"format": "openankh-run", "recipe": recipe, "minutes": 3}))
    with Journal(run) as journal:
        journal.write("train", 4, {"loss": 2.5}, {"seconds": 1.0})
        journal.write("valid", 4, {"perplexity": 17.0})
    facts = inspect(str(run)).facts
    assert (facts["recipe"], facts["step"], facts["total_steps"], facts["minutes"]) == ("nano", 4, 9, 3)
    assert facts["training"] == {"step": 4, "loss": 2.5}
    assert facts["validation"] == {"step": 4, "perplexity": 17.0}
    assert facts["checkpoints"] == ["step-00000004"]
    assert facts["best_model"] == str(run / "best")


def test_a_checkpoint_inside_a_run_points_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(UserError, match="best/"):
        inspect(str(tmp_path))


@pytest.mark.parametrize("magic", [b"\x89HDF\r\n\x1a\n", b"PAR1", b"PK\x03\x04"])
def test_a_damaged_export_gets_one_line(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "e").write_bytes(magic + bytes(100))
    with pytest.raises(UserError, match="damaged") as caught:
        inspect(str(tmp_path / "e"))
    assert "\n" not in str(caught.value)


def test_what_is_nothing_known_gets_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    for path, message in [("folder", "manifest.json"), ("photo", "line 1"), ("missing", "no such file")]:
        assert cli.main(["info", str(tmp_path / path)]) == 2
        shown = capsys.readouterr().err
        assert message in shown and shown.count("\n") == 1


def test_json_holds_the_same_facts(fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(fasta), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"path": str(fasta), "kind": "FASTA", **inspect(str(fasta)).facts}


def test_a_manifest_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "zarr"}')
    with pytest.raises(UserError, match="'zarr'"):
        inspect(str(tmp_path))
