"""An encoder trained as a whole, or in mixed precision: it learns, and says the same bits after it is read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from embedding_models import proteins
from fit_samples import class_data, residue_data
from model_folders import random_model
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.inspection import inspect
from openankh.precision import Precision
from openankh.tasks.artifact import load_artifact
from openankh.tasks.finetuning import BaseModel, HeadChoice, finetune_full, finetune_lora, save_finetuned
from openankh.tasks.fitting import FitOptions
from openankh.tasks.lora import LoraConfig
from openankh.tasks.predicting import Predictions
from openankh.vocab import ankh_vocab

FEW = FitOptions(epochs=2, learning_rate=1e-2, encoder_rate=1e-3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "ankh"
    save_model(random_model(), ankh_vocab(), folder, Provenance("ankh"))
    return str(folder)


def base_model(name: str, precision: Precision = "auto") -> BaseModel:
    return BaseModel(name, options=EmbedOptions(precision=precision))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_whole_encoder_learns_and_predicts_the_same_bits_after_it_is_read_back(
    base: str, tmp_path: Path, precision: Precision
) -> None:
    data = residue_data()
    made, merged = finetune_full(data, HeadChoice("linear"), base_model(base, precision), FEW)
    before = load_model(Path(base), part="encoder").model.state_dict()
    after = merged.embedder.model.state_dict()
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in after if name.endswith("q.weight"))
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    save_finetuned(made, tmp_path / "made", data, merged)
    found = load_artifact(tmp_path / "made")
    assert found.preprocessing.precision == precision
    predictions = Predictions.load(found)
    for prediction in predictions.predict(proteins([9, 30])):
        logits_LC = made.artifact.predictor.outputs(merged.rows(prediction.record.sequence))
        again_LC = found.predictor.outputs(next(predictions.embedder.embed([prediction.record]))[1])
        assert logits_LC.tobytes() == again_LC.tobytes()
    with pytest.raises(UserError, match="leave -m out"):
        Predictions.load(found, model=base)


def test_the_encoder_of_an_artifact_is_a_model_that_others_open(base: str, tmp_path: Path) -> None:
    data = class_data(24)
    made, merged = finetune_full(data, HeadChoice("linear"), base_model(base), FEW)
    save_finetuned(made, tmp_path / "made", data, merged)
    folder = tmp_path / "made" / "encoder"
    assert inspect(str(folder)).kind == "model"
    facts = json.loads((tmp_path / "made" / "artifact.json").read_text())
    assert facts["encoder"]["sha256"] == load_model(folder, part="encoder").sha256
    assert facts["origin"]["training"]["encoder_rate"] == 1e-3
    assert "trained as a whole" in (tmp_path / "made" / "README.md").read_text()
    assert inspect(str(tmp_path / "made")).facts["mode"] == "full"


def test_another_encoder_in_an_artifact_is_told(base: str, tmp_path: Path) -> None:
    data = class_data(24)
    made, merged = finetune_full(data, HeadChoice("linear"), base_model(base), FEW)
    save_finetuned(made, tmp_path / "made", data, merged)
    save_model(random_model(seed=3), ankh_vocab(), tmp_path / "made" / "encoder", Provenance("other"))
    with pytest.raises(UserError, match="not the encoder that was written"):
        Predictions.load(load_artifact(tmp_path / "made"))


def test_several_seeds_of_a_whole_encoder_each_begin_at_the_base(base: str) -> None:
    data = class_data(24)
    options = FitOptions(epochs=1, encoder_rate=1e-9)
    made, merged = finetune_full(data, HeadChoice("mlp", hidden=8), base_model(base), options, (0, 1))
    assert set(made.valid_scores) == {0, 1}
    before = load_model(Path(base), part="encoder").model.state_dict()
    for name, tensor in merged.embedder.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name].float(), rtol=1e-4, atol=1e-4)


def test_lora_in_mixed_precision_keeps_its_matrices_in_fp32(base: str, tmp_path: Path) -> None:
    data = class_data(24)
    made, merged = finetune_lora(data, HeadChoice("linear"), base_model(base, "bf16"), LoraConfig(3, 6.0), FEW)
    assert {tensor.dtype for tensor in merged.weights.values()} == {torch.float32}
    save_finetuned(made, tmp_path / "made", data, merged)
    found = load_artifact(tmp_path / "made")
    assert found.preprocessing.precision == "bf16"
    assert np.isfinite(next(Predictions.load(found).predict(["MKTAYIAK"])).probabilities).all()  # type: ignore[arg-type]  # pyright: ignore


def test_a_mixed_step_is_near_an_exact_one(base: str) -> None:
    data = residue_data()
    losses = [
        finetune_full(data, HeadChoice("linear"), base_model(base, precision), FEW)[0].fitted.history[-1].train_loss
        for precision in ("fp32", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_what_a_whole_encoder_cannot_be_trained_in_is_told(base: str) -> None:
    for wrong in (BaseModel(base, layer=1), base_model(base, "fp16"), base_model(base, "int8")):
        with pytest.raises(UserError, match=r"last layer|fp32 or bf16"):
            finetune_full(class_data(24), HeadChoice("linear"), wrong)
    with pytest.raises(UserError, match="encoder_rate is 0"):
        FitOptions(encoder_rate=0.0)
