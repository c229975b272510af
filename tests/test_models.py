"""`openankh models`: every name with its size, licence and place, and nothing asked of the network."""

import json
from pathlib import Path

import pytest

from openankh import catalogue, cli, model_names
from openankh.checkpoint import save_model
from openankh.config import ModelConfig
from openankh.model import Ankh
from openankh.provenance import Provenance
from openankh.published import BUNDLED, PUBLISHED, published_model
from openankh.vocab import openankh_vocab


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """A tiny model in the place of the bundled one."""
    vocab = openankh_vocab()
    config = ModelConfig(
        vocab_size=vocab.size, d_model=8, d_ff=16, d_kv=4, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    save_model(Ankh(config), vocab, tmp_path / BUNDLED, Provenance(BUNDLED, "CC-BY-4.0"))
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path)
    return config


@pytest.fixture(autouse=True)
def empty_hub_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "cached", lambda model, **_: Path("/cache") if model.name == "ankh-base" else None)


def test_the_bundled_model_comes_first_with_its_own_facts(bundled: ModelConfig, tmp_path: Path) -> None:
    first = catalogue.listings()[0]
    assert first == catalogue.Listing(
        BUNDLED,
        bundled.num_parameters,
        bundled.num_encoder_parameters,
        "CC-BY-4.0",
        "bundled",
        str(tmp_path / BUNDLED),
    )


def test_published_models_are_listed_with_where_they_are(bundled: ModelConfig) -> None:
    rows = {row.name: row for row in catalogue.listings()}
    assert list(rows) == [BUNDLED, *(model.name for model in PUBLISHED)]
    assert (rows["ankh-base"].available, rows["ankh-base"].source) == ("downloaded", "/cache")
    assert (rows["ankh3-xl"].available, rows["ankh3-xl"].source) == ("on the hub", "ElnaggarLab/ankh3-xl")


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
        assert model is not None
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
