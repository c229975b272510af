"""`openankh models`: every name with its size, licence, commit and place, and nothing asked of the network."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub_server import laid_out
from openankh import catalogue, cli, model_names
from openankh.checkpoint import save_model
from openankh.config import ModelConfig
from openankh.model import Ankh
from openankh.provenance import Provenance
from openankh.published import BUNDLED, PUBLISHED, published_model
from openankh.vocab import openankh_vocab

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """A tiny model in the place of the bundled one."""
    vocab = openankh_vocab()
    config = ModelConfig(
        vocab_size=vocab.size, d_model=8, d_ff=16, d_kv=4, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    save_model(Ankh(config), vocab, tmp_path / BUNDLED, Provenance(BUNDLED, "CC-BY-4.0"), max_shard_bytes=2000)
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path)
    return config


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub in the place of the user's."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_bundled_model_comes_first_with_its_own_facts(bundled: ModelConfig, tmp_path: Path) -> None:
    folder = tmp_path / BUNDLED
    assert catalogue.listings()[0] == catalogue.Listing(
        BUNDLED,
        bundled.num_parameters,
        bundled.num_encoder_parameters,
        "CC-BY-4.0",
        "bundled",
        size(folder),
        None,
        str(folder),
    )


def test_published_models_are_listed_with_where_they_are_and_at_which_commit(
    bundled: ModelConfig, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / BUNDLED
    names = file_names(folder)
    decoder_alone = {name for name in names if name.startswith("model-") and name not in encoder_files(folder)}
    assert decoder_alone
    revisions = {model.name: model.revision for model in PUBLISHED}
    here = laid_out(cache, "ElnaggarLab/ankh-base", folder, revisions["ankh-base"] or "", names)
    laid_out(cache, "ElnaggarLab/ankh-large", folder, revisions["ankh-large"] or "", names - decoder_alone)
    laid_out(cache, "ElnaggarLab/ankh2-ext1", folder, COMMIT, {"config.json"})
    rows = {row.name: row for row in catalogue.listings()}
    assert list(rows) == [BUNDLED, *(model.name for model in PUBLISHED)]
    base = rows["ankh-base"]
    assert (base.available, base.source, base.bytes) == ("here", str(here), size(folder))
    assert rows["ankh-large"].available == "encoder here"
    for name in ("ankh2-ext1", "ankh3-xl"):
        row = rows[name]
        assert (row.available, row.source, row.revision, row.bytes) == (
            "on the hub",
            f"ElnaggarLab/{name}",
            revisions[name],
            None,
        )
    assert {name: rows[name].revision for name in revisions} == revisions


def encoder_files(folder: Path) -> set[str]:
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return {file for name, file in places.items() if name.startswith(("encoder.", "shared."))}


def test_other_models_of_the_hub_are_listed_when_they_are_here_and_of_this_kind(
    bundled: ModelConfig, tmp_path: Path, cache: Path
) -> None:
    folder = Path(shutil.copytree(tmp_path / BUNDLED, tmp_path / "another"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    laid_out(cache, "ada/tiny-ankh", folder, COMMIT, file_names(folder))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    laid_out(cache, "ada/bert", folder, COMMIT, file_names(folder))
    (row,) = catalogue.listings()[1 + len(PUBLISHED) :]
    assert (row.name, row.licence, row.available, row.revision) == ("ada/tiny-ankh", "mit", "here", COMMIT)
    assert (row.parameters, row.encoder) == (bundled.num_parameters, bundled.num_encoder_parameters)


def test_an_installation_without_the_bundled_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "nothing")
    assert catalogue.listings()[0].available == "missing"


def test_published_parameter_counts_are_those_of_their_shapes() -> None:
    """The counts were read from the published files; the shapes are the papers'."""
    base = ModelConfig(144, 768, 3072, 64, 12, 48, 24, "gelu")
    large = ModelConfig(144, 1536, 3840, 64, 16, 48, 24, "gelu")
    large3 = ModelConfig(256, 1536, 3840, 64, 16, 48, 24, "silu")
    for name, config in [("ankh-base", base), ("ankh-large", large), ("ankh2-ext1", large), ("ankh3-large", large3)]:
        model = published_model(name)
        assert model is not None and model.alphabet.size == config.vocab_size
        assert (model.num_parameters, model.num_encoder_parameters) == (
            config.num_parameters,
            config.num_encoder_parameters,
        )


def test_table_and_json_hold_the_same_models(bundled: ModelConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cli.main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert lines[0].split() == list(rows[0])
    assert [line.split()[0] for line in lines[1:]] == [row["name"] for row in rows]


def test_the_table_shortens_commits_and_json_does_not(
    bundled: ModelConfig, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laid_out(cache, "ElnaggarLab/ankh2-ext1", tmp_path / BUNDLED, COMMIT, file_names(tmp_path / BUNDLED))
    assert cli.main(["models"]) == 0
    assert f" {COMMIT[:12]} " in capsys.readouterr().out
    assert cli.main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[3]["revision"] == COMMIT
