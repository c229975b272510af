"""The 8-bit encoder stays near fp32, treats each protein by itself, and keeps outliers exact."""

import random

import numpy as np
import pytest
import torch

import openankh
from openankh.attention import Documents
from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.inference import for_inference
from openankh.int8 import support
from openankh.int8.support import multiplies_exactly, require_int8
from openankh.model import Ankh
from test_model import SHAPES, build_pair, draw_tokens, relative_error

pytest.importorskip("numba")
if not multiplies_exactly():
    pytest.skip("this processor has no exact 8-bit products", allow_module_level=True)

from openankh.int8 import attention, encoder
from openankh.int8.linear import Int8Linear, encoded

LENGTHS = [7, 240, 1, 90, 3, 600]
DOCUMENTS = Documents.of_lengths(LENGTHS)
TOKENS = draw_tokens(LENGTHS, 1)


def floats(bits_TO: np.ndarray, units_T: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(bits_TO).view(torch.bfloat16).float() * torch.from_numpy(units_T)[:, None]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_is_near_to_that_in_fp32(shape: str) -> None:
    model, _ = build_pair(SHAPES[shape])
    layers = range(model.config.num_encoder_layers + 1)
    with torch.no_grad():
        exact = model.encode(TOKENS, DOCUMENTS, layers)
    found = for_inference(model, "int8").encode(TOKENS, DOCUMENTS, layers)
    for layer in layers:
        assert found.states[layer].dtype == torch.float32
        assert relative_error(found.states[layer], exact.states[layer]) < 4e-2


def test_the_bundled_model_is_within_four_per_cent_of_fp32() -> None:
    draw = random.Random(0)
    sequences = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=length)) for length in (40, 130, 410)]
    model = openankh.load("openankh-nano")
    exact, found = (
        [rows for _, rows in model.embed(sequences, pool="residues", precision=p)] for p in ("fp32", "int8")
    )
    assert [len(rows) for rows in found] == [40, 130, 410]
    truth, ours = np.concatenate(exact).astype(np.float64), np.concatenate(found).astype(np.float64)
    assert np.linalg.norm(ours - truth) / np.linalg.norm(truth) < 4e-2


@pytest.mark.parametrize("num_threads", [1, 2])
def test_company_order_and_threads_never_change_a_protein(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "NUM_ROWS", 128)
    packed = for_inference(build_pair(SHAPES["ankh, gated gelu"])[0], "int8")
    proteins = TOKENS.split(LENGTHS)
    alone = [packed.encode(tokens, Documents.of_lengths([len(tokens)])).last_TD for tokens in proteins]
    order = [5, 2, 0, 4, 1, 3]
    documents = Documents.of_lengths([LENGTHS[number] for number in order])
    torch.set_num_threads(num_threads)
    together = packed.encode(torch.cat([proteins[number] for number in order]), documents).last_TD
    for number, (start, end) in zip(order, documents, strict=True):
        assert relative_error(together[start:end], alone[number]) < 1e-6


def test_tiles_of_queries_give_what_whole_proteins_give(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = for_inference(build_pair(SHAPES["ankh, gated gelu"])[0], "int8")
    whole = packed.encode(TOKENS, DOCUMENTS).last_TD
    monkeypatch.setattr(attention, "NUM_TILE", 20_000)
    assert relative_error(packed.encode(TOKENS, DOCUMENTS).last_TD, whole) < 1e-6


def test_outliers_do_not_coarsen_the_other_numbers_of_their_row() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(30, 512), torch.randn(40, 512)
    x[:, 7] *= 400
    weight[:, 7] = 0
    rows = encoded(x.numpy())
    assert (rows.nums_T > 0).mean() > 0.8
    taken_out = torch.from_numpy(rows.nums_T > 0)
    found = floats(Int8Linear(weight)(rows), rows.units_T)[taken_out]
    assert relative_error(found, (x @ weight.t())[taken_out]) < 2e-2


def test_planted_outlier_channels_are_multiplied_too() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(30, 512), torch.randn(40, 512)
    x[:, [3, 200]] = torch.tensor([60.0, -90.0])
    rows = encoded(x.numpy())
    assert (rows.nums_T == 2).all()
    assert relative_error(floats(Int8Linear(weight)(rows), rows.units_T), x @ weight.t()) < 2e-2


def test_a_batch_may_be_empty_and_hold_empty_proteins() -> None:
    packed = for_inference(build_pair(SHAPES["ankh, gated gelu"])[0], "int8")
    assert packed.encode(TOKENS[:0], Documents((0,))).last_TD.shape == (0, 64)
    with_empty = packed.encode(TOKENS[:7], Documents((0, 0, 7))).last_TD
    assert torch.equal(with_empty, packed.encode(TOKENS[:7], Documents((0, 7))).last_TD)


def test_a_released_model_keeps_no_matrix_and_its_packed_form_works_on() -> None:
    model, _ = build_pair(SHAPES["ankh, gated gelu"])
    kept = for_inference(model, "int8").encode(TOKENS, DOCUMENTS).last_TD
    packed = for_inference(model, "int8", release=True)
    assert torch.equal(packed.encode(TOKENS, DOCUMENTS).last_TD, kept)
    matrices = [name for name, weight in model.encoder.block.named_parameters() if weight.device.type != "meta"]
    assert all("layer_norm" in name or "relative_attention_bias" in name for name in matrices)


def test_damaged_weights_are_not_hidden() -> None:
    model = Ankh(ModelConfig(144, 64, 160, 16, 4, 2, 0))
    torch.nn.init.normal_(model.shared.weight)
    model.shared.weight.data[5] = float("nan")
    found = for_inference(model, "int8").encode(torch.tensor([5, 6, 7]), Documents((0, 3))).last_TD
    assert not torch.isfinite(found[0]).all()


def test_it_is_refused_in_one_line_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="runs on CPUs"):
        require_int8(torch.device("meta"))
    monkeypatch.setattr(support, "multiplies_exactly", lambda: False)
    with pytest.raises(UserError, match="no exact 8-bit products"):
        require_int8(torch.device("cpu"))
    monkeypatch.setattr(support, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'openankh\[int8\]'"):
        require_int8(torch.device("cpu"))
