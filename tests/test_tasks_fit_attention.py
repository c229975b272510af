"""Contacts are learned from attention maps as from any rows: kept, read back bit for bit, and predicted."""

from pathlib import Path

import numpy as np
import pytest

from fit_samples import class_data, contact_data
from model_folders import TINY, random_model
from openankh.checkpoint import Provenance, save_model
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.tasks import attention_rows as rows_module
from openankh.tasks.artifact import load_artifact
from openankh.tasks.attention_contacts import AttentionContacts, corrected
from openankh.tasks.attention_learning import DECAYS, attention_rows, finetune_attention
from openankh.tasks.attention_maps import attention_maps
from openankh.tasks.attention_rows import AttentionRows
from openankh.tasks.finetuning import BaseModel, HeadChoice, save_finetuned
from openankh.tasks.predicting import Predictions
from openankh.vocab import ankh_vocab

SEQUENCE = "MKTAYIAKQRQISFVKSH"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> AttentionRows:
    folder = tmp_path_factory.mktemp("models") / "ankh"
    save_model(random_model(), ankh_vocab(), folder, Provenance("ankh"))
    return attention_rows(BaseModel(str(folder)))


def test_rows_are_the_corrected_maps_of_all_layers(rows: AttentionRows) -> None:
    found = rows.rows(SEQUENCE)
    num_maps = TINY.num_encoder_layers * TINY.num_heads
    assert found.shape == (len(SEQUENCE), len(SEQUENCE), num_maps) and rows.preprocessing.width == num_maps
    maps_MLL = attention_maps(rows.embedder.model, rows.embedder.vocab, SEQUENCE, rows.embedder.prefix)
    np.testing.assert_array_equal(found.transpose(2, 0, 1), corrected(maps_MLL))
    np.testing.assert_array_equal(rows.rows("MKJ"), rows.rows("MKX"))


def test_what_is_learned_is_kept_read_back_and_predicts(rows: AttentionRows, tmp_path: Path) -> None:
    data = contact_data()
    made = finetune_attention(data, rows, (0, 1), num_chains=12)
    assert set(made.valid_scores) == {0, 1} and made.artifact.origin.training["decay"] in DECAYS
    save_finetuned(made, tmp_path / "made", data, rows)
    found = load_artifact(tmp_path / "made")
    assert found.preprocessing.reads == "attention" and found.config.name == "attention"
    (prediction,) = Predictions.load(found).predict([SEQUENCE])
    logits_LL = made.artifact.predictor.outputs(rows.rows(SEQUENCE))
    assert prediction.probabilities is not None
    np.testing.assert_allclose(prediction.probabilities, 1 / (1 + np.exp(-logits_LL)), atol=1e-6)
    np.testing.assert_allclose(logits_LL, logits_LL.T, atol=1e-6)


def test_the_head_says_what_the_regression_says(rows: AttentionRows) -> None:
    from openankh.tasks.attention_learning import _drawn, _pairs, _predictor
    from openankh.tasks.logistic_regression import fit_logistic_regression

    data = contact_data()
    regression = fit_logistic_regression(*_pairs(data, rows, _drawn(data, 0, 8)), 2, decay=1e-3)
    maps_MLL = attention_maps(rows.embedder.model, rows.embedder.vocab, SEQUENCE, rows.embedder.prefix)
    expected_LL = AttentionContacts(regression).scores(maps_MLL)
    found_LL = _predictor(data, rows, regression).outputs(rows.rows(SEQUENCE))
    np.testing.assert_allclose(found_LL, expected_LL, rtol=1e-3, atol=1e-3)


def test_the_same_seed_learns_the_same_bits(rows: AttentionRows) -> None:
    one, two = (finetune_attention(contact_data(), rows, num_chains=5).artifact.predictor for _ in range(2))
    assert one.outputs(rows.rows(SEQUENCE)).tobytes() == two.outputs(rows.rows(SEQUENCE)).tobytes()


def test_what_attention_cannot_do_is_told(rows: AttentionRows, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is for contacts"):
        finetune_attention(class_data(), rows)
    with pytest.raises(UserError, match=r"not for each (residue|protein)"):
        HeadChoice("attention").config(class_data(), 4)
    for wrong, message in (
        (BaseModel("ankh", layer=1), "all layers"),
        (BaseModel("ankh", options=EmbedOptions(precision="bf16")), "made in fp32"),
    ):
        with pytest.raises(UserError, match=message):
            attention_rows(wrong)
    monkeypatch.setattr(rows_module, "_MOST_BYTES", 1000)
    with pytest.raises(UserError, match="attention maps would take"):
        rows.rows(SEQUENCE)
