"""The packed encoder gives what the network gives, at every layer, in any company, with and without oneDNN."""

import copy

import pytest
import torch
from torch import Tensor

from attention_reference import reference_attention
from openankh import fused_linear, inference, native, torch_stack
from openankh.attention import Documents, tiles
from openankh.attention.relative_bias import bias_by_distance
from openankh.attention.tiles import tiled_attention
from openankh.config import ModelConfig
from openankh.fused_linear import OneDnnLinear, PlainLinear, fuse_linear, onednn_serves
from openankh.inference import PackedEncoder, for_inference
from openankh.model import Ankh
from openankh.precision import Precision
from test_model import SHAPES, build_pair, draw_tokens, relative_error

LENGTHS = [7, 240, 1, 90, 3, 600]
DOCUMENTS = Documents.of_lengths(LENGTHS)
TOKENS = draw_tokens(LENGTHS, 1)
NUMBERS = [torch.float32, torch.bfloat16]
needs_onednn = pytest.mark.skipif(not onednn_serves(torch.float32), reason="oneDNN does not serve this processor")


@pytest.fixture(params=["compiled", "oneDNN", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every kind of kernels, whatever the machine chooses."""
    if request.param == "compiled" and native.kernels() is None:
        pytest.skip("no kernels can be compiled here")
    if request.param == "oneDNN" and not onednn_serves(torch.float32):
        pytest.skip("oneDNN does not serve this processor")
    if request.param != "compiled":
        monkeypatch.setattr(inference, "kernels", lambda: None)
    if request.param == "plain":
        for module in (fused_linear, torch_stack):
            monkeypatch.setattr(module, "onednn_serves", lambda dtype: False)
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_equals_that_of_transformers(shape: str, kernels: str) -> None:
    model, oracle = build_pair(SHAPES[shape])
    layers = range(model.config.num_encoder_layers + 1)
    packed = PackedEncoder(model).encode(TOKENS, DOCUMENTS, layers)
    with torch.no_grad():
        for start, end in DOCUMENTS:
            truth = oracle.get_encoder()(TOKENS[None, start:end], output_hidden_states=True).hidden_states
            for layer in layers:
                assert relative_error(packed.states[layer][start:end], truth[layer][0]) < 2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_is_as_near_to_float32_as_the_networks_own(shape: str, kernels: str) -> None:
    model, _ = build_pair(SHAPES[shape])
    rounded = copy.deepcopy(model).bfloat16()
    with torch.no_grad():
        exact = model.encode(TOKENS, DOCUMENTS).last_TD
        plain = rounded.encode(TOKENS, DOCUMENTS).last_TD
    packed = PackedEncoder(rounded).encode(TOKENS, DOCUMENTS).last_TD
    assert packed.dtype == torch.bfloat16
    assert relative_error(packed, exact) < max(1e-2, 1.1 * relative_error(plain, exact))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_company_and_order_never_change_a_protein(dtype: torch.dtype, kernels: str) -> None:
    encoder = PackedEncoder(build_pair(SHAPES["ankh, gated gelu"])[0].to(dtype))
    proteins = TOKENS.split(LENGTHS)
    alone = [encoder.encode(tokens, Documents.of_lengths([len(tokens)])).last_TD for tokens in proteins]
    order = [5, 2, 0, 4, 1, 3]
    documents = Documents.of_lengths([LENGTHS[number] for number in order])
    together = encoder.encode(torch.cat([proteins[number] for number in order]), documents).last_TD
    for number, (start, end) in zip(order, documents, strict=True):
        assert relative_error(together[start:end], alone[number]) < (1e-6 if dtype == torch.float32 else 5e-3)


def test_a_batch_may_be_empty_and_hold_empty_proteins(kernels: str) -> None:
    encoder = PackedEncoder(build_pair(SHAPES["ankh, gated gelu"])[0])
    assert encoder.encode(TOKENS[:0], Documents((0,))).last_TD.shape == (0, 64)
    with_empty = encoder.encode(TOKENS[:7], Documents((0, 0, 7))).last_TD
    assert torch.equal(with_empty, encoder.encode(TOKENS[:7], Documents((0, 7))).last_TD)


def test_a_released_model_keeps_no_matrix_and_its_packed_form_works_on(kernels: str) -> None:
    model, _ = build_pair(SHAPES["ankh, gated gelu"])
    kept = PackedEncoder(model).encode(TOKENS, DOCUMENTS).last_TD
    encoder = for_inference(model, release=True)
    assert torch.equal(encoder.encode(TOKENS, DOCUMENTS).last_TD, kept)
    matrices = [name for name, weight in model.encoder.block.named_parameters() if weight.device.type != "meta"]
    assert all("layer_norm" in name or "relative_attention_bias" in name for name in matrices)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loaded", NUMBERS)
def test_the_precision_asked_for_is_computed_in_whatever_was_loaded(precision: Precision, loaded: torch.dtype) -> None:
    model = build_pair(SHAPES["ankh, gated gelu"])[0].to(loaded)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    found = for_inference(model, precision).encode(TOKENS, DOCUMENTS).last_TD
    assert found.dtype == dtype
    assert model.shared.weight.dtype == loaded
    with torch.no_grad():
        exact = model.float().encode(TOKENS, DOCUMENTS).last_TD
    assert relative_error(found, exact) < (2e-6 if dtype == torch.float32 else 2e-2)


def test_float16_on_a_cpu_is_the_network_itself_in_float16() -> None:
    model = build_pair(SHAPES["ankh, gated gelu"])[0]
    half = for_inference(model, "fp16")
    assert isinstance(half, Ankh)
    assert half.shared.weight.dtype == torch.float16
    assert model.shared.weight.dtype == torch.float32


@pytest.mark.parametrize("packed", [True, False])
def test_no_layer_beyond_the_highest_asked_for_is_run(packed: bool) -> None:
    model = build_pair(SHAPES["ankh, gated gelu"])[0]
    with torch.no_grad():
        every = model.encode(TOKENS, DOCUMENTS, range(model.config.num_encoder_layers + 1)).states
        model.encoder.blocks[-1].feed_forward.DenseReluDense.wo.weight.fill_(torch.nan)
        encoder = PackedEncoder(model) if packed else model
        for layers in [(0,), (1,), (0, 1)]:
            output = encoder.encode(TOKENS, DOCUMENTS, layers)
            assert sorted(output.states) == sorted(layers)
            assert all(relative_error(output.states[layer], every[layer]) < 1e-6 for layer in layers)
        with pytest.raises(AssertionError, match="were asked for"):
            _ = output.last_TD
        assert encoder.encode(TOKENS, DOCUMENTS).last_TD.isnan().all()


def test_a_model_of_numbers_that_no_cpu_kernel_takes_runs_as_it_is() -> None:
    model = Ankh(ModelConfig(144, 16, 32, 8, 2, 2, 0)).double()
    assert for_inference(model) is model


@needs_onednn
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("length", [1, 2, 37, 130, 301])
def test_tiled_attention_equals_its_definition(
    length: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "NUM_TOGETHER", 4000)
    monkeypatch.setattr(tiles, "NUM_TILE", 20_000)
    torch.manual_seed(0)
    lengths = [3, length, 20]
    q, k, v = torch.randn(3, sum(lengths), 2, 16).to(dtype)
    table = torch.randn(64, 2)
    documents = Documents.of_lengths(lengths)
    ours = tiled_attention(q, k, v, documents, bias_by_distance(table, length + 20, 128, bidirectional=True))
    truth = reference_attention(q, k, v, lengths, lengths, table)
    assert relative_error(ours, truth) < (1e-6 if dtype == torch.float32 else 4e-3)


@needs_onednn
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu"])
def test_fused_steps_equal_the_plain_ones(activation: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, x, other = torch.randn(24, 40).to(dtype), torch.randn(9, 40).to(dtype), torch.randn(9, 24).to(dtype)

    def results(layer: OneDnnLinear | PlainLinear) -> Tensor:
        steps = [layer(x), layer.activated(x, activation), layer.times(x, other), layer.plus(x, other)]  # type: ignore[arg-type]
        return torch.stack(steps)

    limit = 1e-6 if dtype == torch.float32 else 4e-3
    assert relative_error(results(OneDnnLinear(weight)), results(PlainLinear(weight))) < limit


def test_matrices_elsewhere_than_on_a_cpu_stay_plain() -> None:
    assert isinstance(fuse_linear(torch.empty(4, 4, device="meta")), PlainLinear)
    assert isinstance(fuse_linear(torch.ones(4, 4, dtype=torch.float64)), PlainLinear)
