"""LoRA learns, is merged by the very sums it was trained with, and opens in `peft`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from embedding_models import proteins
from fit_samples import class_data
from hugging_face_models import PUBLISHED_SHAPES, draw_oracle, miniature
from model_folders import SOURCE, TINY, random_model
from openankh.attention import Documents
from openankh.checkpoint import Provenance, save_model
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.tasks.artifact import load_artifact
from openankh.tasks.finetuning import BaseModel, HeadChoice, finetune_lora, save_finetuned
from openankh.tasks.fitting import FitOptions
from openankh.tasks.lora import LoraConfig, attach, detach, load_adapter, merge, save_adapter, weights_of
from openankh.tasks.predicting import Predictions
from openankh.tasks.tuned_encoder import TunedEncoder
from openankh.vocab import ankh_vocab

CONFIG = LoraConfig(r=3, alpha=6.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("ankh", "other")):
        save_model(random_model(seed=seed), ankh_vocab(), folder / name, Provenance(name))
    return folder


def encode(model: Ankh) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(torch.tensor(SOURCE), Documents((0, len(SOURCE)))).last_TD


def moved(model: Ankh, config: LoraConfig = CONFIG) -> dict[str, torch.Tensor]:
    """Attach, and set what is attached to something that changes the output."""
    added = attach(model, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in added.values():
            each.B.copy_(torch.randn(each.B.shape, generator=generator) * 0.3)
    return weights_of(added)


def test_nothing_changes_before_training_and_only_what_is_attached_is_trained() -> None:
    model, plain = random_model(), random_model()
    added = attach(model, CONFIG)
    assert torch.equal(encode(model), encode(plain))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * len(added) == 2 * 2 * TINY.num_encoder_layers
    detach(model, CONFIG)
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("targets", [("q", "v"), ("q", "k", "v", "o")])
def test_merging_gives_the_very_bits_of_what_was_trained(targets: tuple[str, ...]) -> None:
    config = LoraConfig(3, 6.0, targets)
    model, plain = random_model(), random_model()
    weights = moved(model, config)
    expected = encode(model)
    assert not torch.allclose(expected, encode(plain), atol=1e-2)
    merge(plain, weights, config)
    assert torch.equal(encode(plain), expected)
    detach(model, config)
    assert torch.equal(encode(model), encode(random_model()))


def test_what_was_written_is_read_and_faults_are_told(tmp_path: Path) -> None:
    weights = moved(random_model())
    save_adapter(tmp_path / "adapter", weights, CONFIG, "ankh")
    found = load_adapter(tmp_path / "adapter", CONFIG)
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in found)
    with pytest.raises(UserError, match="another r"):
        load_adapter(tmp_path / "adapter", LoraConfig(4, 6.0))
    for wrong, message in (({"r": 0}, "at least 1"), ({"alpha": 0.0}, "above 0"), ({"targets": ("x",)}, "choose")):
        with pytest.raises(UserError, match=message):
            LoraConfig(**wrong)  # type: ignore[arg-type]  # pyright: ignore


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for what that has renamed
def test_peft_opens_the_adapter_and_gives_our_states(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    shape = miniature(PUBLISHED_SHAPES["ankh-base"])
    oracle = draw_oracle(shape)
    ours = Ankh(shape).eval()
    ours.load_state_dict({name: each for name, each in oracle.state_dict().items() if "embed_tokens" not in name})
    before = encode(ours)
    weights = moved(ours)
    save_adapter(tmp_path / "adapter", weights, CONFIG, "ankh")
    opened = peft.PeftModel.from_pretrained(oracle, str(tmp_path / "adapter")).eval()
    encoder = opened.get_base_model().get_encoder()
    with torch.no_grad():
        theirs = encoder(input_ids=torch.tensor([SOURCE])).last_hidden_state[0]
    torch.testing.assert_close(theirs, encode(ours), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, theirs, atol=1e-3)


def test_lora_is_trained_kept_and_predicts_the_same_after_it_is_read_back(models: Path, tmp_path: Path) -> None:
    data, name = class_data(24), str(models / "ankh")
    choice, base = HeadChoice("linear"), BaseModel(name)
    made, merged = finetune_lora(data, choice, base, CONFIG, FitOptions(epochs=3, learning_rate=1e-2))
    assert any(tensor.abs().max() > 0 for name, tensor in merged.weights.items() if name.endswith(".B"))
    save_finetuned(made, tmp_path / "made", data, merged)
    found = load_artifact(tmp_path / "made")
    assert found.adapter is not None and found.adapter.config == CONFIG
    assert "LoRA of rank 3" in (tmp_path / "made" / "README.md").read_text()
    predictions = Predictions.load(found)
    for prediction in predictions.predict(proteins([9, 30])):
        sequence = prediction.record.sequence
        alone = found.predictor.outputs(merged.rows(sequence))
        shares = np.exp(alone - alone.max()) / np.exp(alone - alone.max()).sum()
        assert prediction.probabilities is not None
        np.testing.assert_allclose(prediction.probabilities, shares, atol=1e-5)
    with pytest.raises(UserError, match="was trained on"):
        Predictions.load(found, model=str(models / "other"))
    weights = tmp_path / "made" / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_artifact(tmp_path / "made")


def test_the_network_that_learns_gives_the_rows_of_the_merged_one(models: Path) -> None:
    tuned = TunedEncoder(str(models / "ankh"), CONFIG)
    with torch.no_grad():
        for each in tuned.added.values():
            each.B.normal_(generator=torch.Generator().manual_seed(1))
    sequence = "MKTAYIAKQRUO"
    with tuned.settled():
        learned = tuned.rows(sequence)
    rows = tuned.merged().rows(sequence)
    np.testing.assert_allclose(learned, rows, rtol=1e-3, atol=1e-3)


def test_what_lora_cannot_do_is_told(models: Path) -> None:
    for base, message in (
        (BaseModel(str(models / "ankh"), layer=1), "last layer"),
        (BaseModel(str(models / "ankh"), options=EmbedOptions(precision="int8")), "trained in fp32 or bf16"),
    ):
        with pytest.raises(UserError, match=message):
            finetune_lora(class_data(24), HeadChoice("linear"), base, CONFIG)


def test_the_same_seed_gives_the_same_adapter(models: Path) -> None:
    data = class_data(24)
    base = BaseModel(str(models / "ankh"))
    one, two = (finetune_lora(data, HeadChoice("mlp"), base, CONFIG, FitOptions(epochs=1))[1].weights for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
