"""The network equals transformers' T5, at every layer and in its gradients, and company never changes a result."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_reference import reference_attention
from openankh.attention import Documents, attend
from openankh.config import ModelConfig
from openankh.model import Ankh

transformers = pytest.importorskip("transformers")

SOURCES, TARGETS = [5, 33, 1, 200, 33], [3, 20, 2, 70, 11]
SHAPES = {
    "ankh, gated gelu": ModelConfig(144, 64, 160, 16, 4, 5, 3, activation="gelu"),
    "ankh2 and ankh3, gated silu": ModelConfig(256, 48, 96, 32, 2, 4, 2, activation="silu"),
    "ablation, relu without a gate": ModelConfig(144, 48, 96, 16, 3, 3, 2, activation="relu", gated=False),
    "ablation, other buckets": ModelConfig(144, 48, 96, 16, 3, 3, 2, relative_buckets=16, relative_distance=64),
    "rescaled decoder outputs": ModelConfig(144, 48, 96, 16, 3, 2, 2, scale_decoder_outputs=True),
}


def build_pair(config: ModelConfig) -> tuple[Ankh, Any]:
    """Our network and transformers' with the same random weights, the head its own."""
    torch.manual_seed(0)
    settings = {name: value for name, value in config.to_hf().items() if name != "architectures"}
    oracle = transformers.T5ForConditionalGeneration(transformers.T5Config(**settings)).eval()
    oracle.lm_head.weight = nn.Parameter(torch.randn(config.vocab_size, config.d_model) * 0.1)
    oracle.config.tie_word_embeddings = config.scale_decoder_outputs
    oracle.config.scale_decoder_outputs = config.scale_decoder_outputs
    for parameter in oracle.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    ours = Ankh(config)
    ours.load_state_dict({name: t for name, t in oracle.state_dict().items() if "embed_tokens" not in name})
    return ours, oracle


def draw_tokens(lengths: list[int], seed: int) -> Tensor:
    return torch.randint(3, 140, (sum(lengths),), generator=torch.Generator().manual_seed(seed))


def relative_error(ours: Tensor, truth: Tensor) -> float:
    ours, truth = ours.detach().double(), truth.detach().double()
    return float((ours - truth).norm() / truth.norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_and_the_logits_equal_those_of_transformers(shape: str) -> None:
    ours, oracle = build_pair(SHAPES[shape])
    sources, targets = Documents.of_lengths(SOURCES), Documents.of_lengths(TARGETS)
    inputs, decoded = draw_tokens(SOURCES, 1), draw_tokens(TARGETS, 2)
    num_layers = ours.config.num_encoder_layers
    with torch.no_grad():
        encoded = ours.encode(inputs, sources, layers=range(num_layers + 1))
        logits = ours.decode(decoded, targets, encoded.last_TD, sources)
        for (s0, s1), (t0, t1) in zip(sources, targets, strict=True):
            truth = oracle(
                input_ids=inputs[None, s0:s1], decoder_input_ids=decoded[None, t0:t1], output_hidden_states=True
            )
            for layer in range(num_layers + 1):
                assert relative_error(encoded.states[layer][s0:s1], truth.encoder_hidden_states[layer][0]) < 2e-6
            assert relative_error(logits[t0:t1], truth.logits[0]) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_those_of_transformers(shape: str) -> None:
    ours, oracle = build_pair(SHAPES[shape])
    sources, targets = Documents.of_lengths(SOURCES), Documents.of_lengths(TARGETS)
    inputs, decoded = draw_tokens(SOURCES, 1), draw_tokens(TARGETS, 2)
    logits = ours.decode(decoded, targets, ours.encode(inputs, sources).last_TD, sources)
    weights = torch.randn_like(logits)
    (logits * weights).sum().backward()
    for (s0, s1), (t0, t1) in zip(sources, targets, strict=True):
        truth = oracle(input_ids=inputs[None, s0:s1], decoder_input_ids=decoded[None, t0:t1])
        (truth.logits[0] * weights[t0:t1]).sum().backward()
    expected = dict(oracle.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        truth_gradient = expected[name].grad
        assert truth_gradient is not None
        assert relative_error(parameter.grad, truth_gradient) < 1e-5, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_company_and_order_never_change_a_protein(dtype: torch.dtype) -> None:
    ours, _ = build_pair(SHAPES["ankh, gated gelu"])
    proteins = draw_tokens(SOURCES, 1).split(SOURCES)
    limit = 1e-6 if dtype == torch.float32 else 5e-3
    with torch.inference_mode():
        alone = [ours.encode(tokens, Documents.of_lengths([len(tokens)]), dtype=dtype).last_TD for tokens in proteins]
        for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
            documents = Documents.of_lengths([SOURCES[number] for number in order])
            packed = ours.encode(torch.cat([proteins[number] for number in order]), documents, dtype=dtype).last_TD
            for number, (start, end) in zip(order, documents, strict=True):
                assert relative_error(packed[start:end], alone[number]) < limit


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_stays_nearer_to_float32_than_that_of_transformers(shape: str) -> None:
    ours, oracle = build_pair(SHAPES[shape])
    documents, tokens = Documents.of_lengths(SOURCES), draw_tokens(SOURCES, 1)
    rounded_oracle = copy.deepcopy(oracle).bfloat16().get_encoder()
    with torch.no_grad():
        exact = ours.encode(tokens, documents).last_TD
        rounded = ours.encode(tokens, documents, dtype=torch.bfloat16).last_TD
        theirs = [rounded_oracle(input_ids=tokens[None, s0:s1]).last_hidden_state[0] for s0, s1 in documents]
    assert rounded.dtype == torch.bfloat16
    assert relative_error(rounded, exact) < min(2e-2, relative_error(torch.cat(theirs), exact))


def test_names_of_the_state_dict_are_those_of_published_checkpoints() -> None:
    names = set(Ankh(ModelConfig(144, 16, 32, 8, 2, 2, 2)).state_dict())
    encoder = {f"encoder.block.1.layer.0.SelfAttention.{part}.weight" for part in "qkvo"}
    encoder |= {f"encoder.block.1.layer.1.DenseReluDense.{part}.weight" for part in ("wi_0", "wi_1", "wo")}
    encoder |= {f"encoder.block.1.layer.{number}.layer_norm.weight" for number in (0, 1)}
    decoder = {f"decoder.block.1.layer.{number}.layer_norm.weight" for number in (0, 1, 2)}
    decoder |= {f"decoder.block.1.layer.0.SelfAttention.{part}.weight" for part in "qkvo"}
    decoder |= {f"decoder.block.1.layer.1.EncDecAttention.{part}.weight" for part in "qkvo"}
    decoder |= {f"decoder.block.1.layer.2.DenseReluDense.{part}.weight" for part in ("wi_0", "wi_1", "wo")}
    first = {name.replace("block.1", "block.0") for name in encoder | decoder}
    tables = {
        f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight" for stack in ("encoder", "decoder")
    }
    ends = {"shared.weight", "lm_head.weight", "encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"}
    assert names == encoder | decoder | first | tables | ends


@pytest.mark.parametrize(
    ("config", "whole", "encoder"),
    [
        (ModelConfig(144, 768, 3072, 64, 12, 48, 24), 736_453_632, 453_170_688),
        (ModelConfig(144, 1536, 3840, 64, 16, 48, 24), 1_878_705_152, 1_151_707_648),
        (ModelConfig(256, 1536, 3840, 64, 16, 48, 24, activation="silu"), 1_879_049_216, 1_151_879_680),
    ],
    ids=["ankh-base", "ankh-large", "ankh3-large"],
)
def test_published_shapes_have_the_published_number_of_parameters(
    config: ModelConfig, whole: int, encoder: int
) -> None:
    assert (config.num_parameters, config.num_encoder_parameters) == (whole, encoder)
    with torch.device("meta"):
        model = Ankh(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == whole


def test_attention_is_not_scaled() -> None:
    q, k, v = torch.randn(3, 6, 2, 8)
    ours = attend(q, k, v, Documents((0, 6)), Documents((0, 6)))
    assert relative_error(ours, reference_attention(q, k, v, [6], [6])) < 1e-6
