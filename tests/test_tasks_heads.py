"""Heads: ConvBERT is transformers' layer; padding and company never change a prediction."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import ConvBertConfig as OracleConfig
from transformers.models.convbert.modeling_convbert import ConvBertLayer as OracleLayer

from openankh.errors import UserError
from openankh.tasks.heads.convbert import ConvBertConfig, ConvBertLayer
from openankh.tasks.heads.head import HeadConfig, HeadName, make_head
from openankh.tasks.heads.padded import max_pool, mean_pool, pad
from openankh.tasks.heads.pair_output import PairOutput
from openankh.tasks.task import Unit

WIDTH = 32
LENGTHS = (5, 19, 1, 12)
KINDS: list[tuple[HeadName, Unit]] = [
    ("linear", "residue"), ("linear", "protein"), ("linear", "pair"),
    ("mlp", "residue"), ("mlp", "protein"), ("mlp", "pair"),
    ("convbert", "residue"), ("convbert", "protein"), ("convbert", "pair"),
    ("light-attention", "protein"),
]  # fmt: skip


def rows(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, WIDTH, generator=generator) for length in lengths]


def said_of(head: nn.Module, proteins: list[Tensor]) -> list[Tensor]:
    """What is said of each protein, padding cut away."""
    outputs = head(*pad(proteins))
    if outputs.ndim == 2:
        return list(outputs)
    if outputs.shape[1] == outputs.shape[2] and outputs.ndim == 3 and outputs.shape[1] == max(map(len, proteins)):
        return [each[: len(own), : len(own)] for each, own in zip(outputs, proteins, strict=True)]
    return [each[: len(own)] for each, own in zip(outputs, proteins, strict=True)]


@pytest.mark.parametrize(("name", "unit"), KINDS)
def test_company_never_changes_a_prediction(name: HeadName, unit: Unit) -> None:
    head = make_head(HeadConfig(name, unit, WIDTH, 3)).eval()
    proteins = rows()
    together = said_of(head, proteins)
    for protein, said in zip(proteins, together, strict=True):
        (alone,) = said_of(head, [protein])
        torch.testing.assert_close(said, alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("name", "unit"), KINDS)
def test_what_stands_in_padding_changes_nothing_bit_for_bit(name: HeadName, unit: Unit) -> None:
    head = make_head(HeadConfig(name, unit, WIDTH, 3)).eval()
    x_BLD, is_real_BL = pad(rows())
    rubbish_BLD = torch.where(is_real_BL[..., None], x_BLD, torch.full_like(x_BLD, float("nan")))
    clean, dirty = head(x_BLD, is_real_BL), head(rubbish_BLD, is_real_BL)
    if unit == "protein":
        assert torch.equal(clean, dirty)
    else:
        is_real = is_real_BL if unit == "residue" else is_real_BL[:, :, None] & is_real_BL[:, None]
        assert torch.equal(clean[is_real], dirty[is_real])


@pytest.mark.parametrize(("name", "unit"), KINDS)
def test_every_weight_of_a_head_learns(name: HeadName, unit: Unit) -> None:
    head = make_head(HeadConfig(name, unit, WIDTH, 3))
    outputs, is_real_BL = head(*pad(rows())), pad(rows())[1]
    if unit == "residue":
        outputs = outputs[is_real_BL]
    weights = torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape)
    (outputs * weights).square().sum().backward()
    idle = [key for key, value in head.named_parameters() if value.grad is None or not value.grad.any()]
    # A bias before a softmax over the keys moves nothing.
    assert set(idle) <= {"body.attention.key.bias", "weights.bias"}


@pytest.mark.parametrize("shape", [(4, 2, 7), (2, 2, 5), (8, 2, 3)])
def test_convbert_is_the_layer_of_transformers(shape: tuple[int, int, int]) -> None:
    num_heads, ratio, kernel = shape
    torch.manual_seed(0)
    oracle = OracleLayer(
        OracleConfig(
            hidden_size=WIDTH,
            num_attention_heads=num_heads,
            head_ratio=ratio,
            conv_kernel_size=kernel,
            intermediate_size=WIDTH // 2,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
        )
    ).eval()
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = ConvBertLayer(WIDTH, ConvBertConfig(num_heads, ratio, kernel)).eval()
    ours.load_state_dict(converted(oracle))
    for protein in rows():
        expected = oracle(protein[None])
        expected = expected[0] if isinstance(expected, tuple) else expected
        torch.testing.assert_close(ours(*pad([protein])), expected.reshape(1, *protein.shape), atol=1e-5, rtol=1e-5)


def converted(oracle: OracleLayer) -> dict[str, Tensor]:
    """The weights of transformers' layer under our names."""
    names = {
        "attention.self.query": "attention.query",
        "attention.self.key_conv_attn_layer.depthwise": "attention.depthwise",
        "attention.self.key_conv_attn_layer.pointwise": "attention.pointwise",
        "attention.self.key": "attention.key",
        "attention.self.value": "attention.value",
        "attention.self.conv_kernel_layer": "attention.make_kernel",
        "attention.self.conv_out_layer": "attention.convolved",
        "attention.output.dense": "attention_out",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "up",
        "output.dense": "down",
        "output.LayerNorm": "norm",
    }
    made = {}
    for key, value in oracle.state_dict().items():
        if key == "attention.self.key_conv_attn_layer.bias":
            made["attention.pointwise.bias"] = value.flatten()
            continue
        module, _, part = key.rpartition(".")
        made[f"{names[module]}.{part}"] = value
    return made


def test_convbert_has_the_published_shape_by_default() -> None:
    layer = ConvBertLayer(64)
    assert layer.attention.num_heads == 2
    assert layer.attention.depthwise.weight.shape == (64, 1, 7)
    assert layer.up.weight.shape == (32, 64)
    assert layer.dropout.p == 0.2 and layer.attention.dropout.p == 0.1 and layer.norm.eps == 1e-12


def test_a_width_that_no_head_divides_is_one_line() -> None:
    with pytest.raises(UserError, match="a width of 30 cannot be divided among 4 heads"):
        ConvBertLayer(30)


def test_pairs_are_the_published_features_written_out() -> None:
    torch.manual_seed(1)
    output = PairOutput(WIDTH)
    x_BLD, is_real_BL = pad(rows())
    one, other = x_BLD[:, :, None], x_BLD[:, None]
    features = torch.cat([one * other, (one - other).expand_as(one * other)], dim=-1)
    written_out = output.linear(features)
    expected = (written_out + written_out.transpose(1, 2)) / 2
    torch.testing.assert_close(output.two_logits(x_BLD), expected, atol=2e-5, rtol=1e-5)
    told = output(x_BLD, is_real_BL)
    torch.testing.assert_close(told, expected[..., 1] - expected[..., 0], atol=2e-5, rtol=1e-5)
    assert torch.equal(told, told.transpose(1, 2))


def test_pooling_is_over_real_residues() -> None:
    proteins = rows()
    x_BLD, is_real_BL = pad(proteins)
    np.testing.assert_allclose(
        mean_pool(x_BLD, is_real_BL), torch.stack([each.mean(0) for each in proteins]), atol=1e-6
    )
    assert torch.equal(max_pool(x_BLD, is_real_BL), torch.stack([each.amax(0) for each in proteins]))


def test_a_head_is_the_same_for_a_seed_and_touches_no_other_randomness() -> None:
    config = HeadConfig("convbert", "protein", WIDTH, 3)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, other, third = make_head(config, 1), make_head(config, 1), make_head(config, 2)
    assert torch.equal(torch.rand(1), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True))


def test_outputs_begin_as_published() -> None:
    head = make_head(HeadConfig("linear", "protein", WIDTH, 1, start=2.5))
    assert head.get_parameter("output.bias").item() == 2.5
    assert head.get_parameter("output.weight").abs().max() <= 0.1


def test_light_attention_learns_from_a_protein_alone() -> None:
    head = make_head(HeadConfig("light-attention", "protein", WIDTH, 2)).train()
    head(*pad(rows((9,)))).sum().backward()
    assert head.get_parameter("output.weight").grad is not None


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [("light-attention", "residue", "whole proteins"), ("rnn", "residue", "not one of linear")],
)
def test_a_head_that_does_not_serve_is_one_line(name: str, unit: Unit, message: str) -> None:
    with pytest.raises(UserError, match=message):
        HeadConfig(name, unit, WIDTH, 2)  # type: ignore[arg-type]  # pyright: ignore


@pytest.mark.parametrize(
    ("name", "unit"), [("convbert", "residue"), ("convbert", "protein"), ("light-attention", "protein")]
)
def test_heads_with_context_learn_what_stands_beside_a_residue(name: HeadName, unit: Unit) -> None:
    """A residue is marked when the first numbers of seven around it add up to more than 0.

    Those of a protein are all of one sign, which is its class.
    """
    head = make_head(HeadConfig(name, unit, WIDTH, 2)).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)

    def batch(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        proteins = rows((12, 20, 16, 9) * 4, seed)
        if unit == "protein":
            for number, protein in enumerate(proteins):
                protein[:, 0] = protein[:, 0].abs() * (1 if number % 2 else -1)
        x_BLD, is_real_BL = pad(proteins)
        marked_BL = torch.nn.functional.pad(x_BLD[:, :, 0], (3, 3)).unfold(1, 7, 1).sum(dim=2) > 0
        return x_BLD, is_real_BL, marked_BL if unit == "residue" else torch.arange(16) % 2

    for step in range(60):
        x_BLD, is_real_BL, true = batch(step)
        outputs = head(x_BLD, is_real_BL)
        if unit == "residue":
            outputs, true = outputs[is_real_BL], true[is_real_BL]
        torch.nn.functional.cross_entropy(outputs, true.long()).backward()
        optimiser.step()
        optimiser.zero_grad()
    head.eval()
    x_BLD, is_real_BL, true = batch(1000)
    hits = head(x_BLD, is_real_BL).argmax(dim=-1) == true
    assert (hits[is_real_BL] if unit == "residue" else hits).float().mean() > 0.85
