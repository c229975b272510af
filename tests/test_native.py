"""The C kernels give what their definitions give, are compiled once, and are done without where they cannot be."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, rms_norm, silu

from attention_reference import reference_attention
from openankh import native
from openankh.attention.relative_bias import bias_by_distance
from openankh.config import Activation, ModelConfig
from openankh.native import HeadRows, Kernels, ascending, compilation, processor_flags
from openankh.native.compilation import compiled_library
from test_model import relative_error

NUMBERS = [torch.float32, torch.bfloat16]
ACTIVATIONS = {"gelu": lambda x: gelu(x, approximate="tanh"), "silu": silu, "relu": relu}


@pytest.fixture(params=NUMBERS, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found = native.kernels()
    if found is None or not found.serves(ModelConfig(144, 16, 32, 16, 1, 1, 0), request.param):
        pytest.skip("no kernels can be compiled here for this type")
    return request.param


@pytest.fixture
def kernels(dtype: torch.dtype) -> Kernels:
    found = native.kernels()
    assert found
    return found


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no memory of kernels found before or during the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.kernels.cache_clear()
    yield tmp_path / "openankh"
    native.kernels.cache_clear()


def attention(kernels: Kernels, qkv_TI: Tensor, table_NH: Tensor, lengths: list[int], queries: int) -> Tensor:
    """By pieces of one head and so many queries."""
    bias_HR = ascending(bias_by_distance(table_NH, max(lengths), 128, bidirectional=True).by_distance)
    out_TI, start = qkv_TI.new_full((len(qkv_TI), qkv_TI.shape[1] // 3), torch.nan), 0
    for length in lengths:
        for head in range(table_NH.shape[1]):
            for first in range(0, length, queries):
                last = min(first + queries, length)
                kernels.attend(qkv_TI, bias_HR, HeadRows(start, start + length, head, head + 1, first, last), out_TI)
        start += length
    return out_TI


@pytest.mark.parametrize("width", [16, 32, 48, 64, 128, 256])
@pytest.mark.parametrize("length", [1, 2, 37, 130, 513, 1100])
def test_attention_equals_its_definition(length: int, width: int, dtype: torch.dtype, kernels: Kernels) -> None:
    torch.manual_seed(0)
    lengths = [3, length]
    qkv_TI = torch.randn(3 + length, 3 * 2 * width).mul(width**-0.25).to(dtype)
    q, k, v = qkv_TI.view(-1, 3, 2, width).unbind(1)
    table_NH = torch.randn(64, 2)
    truth = reference_attention(q.float(), k.float(), v.float(), lengths, lengths, table_NH).flatten(1)
    found = attention(kernels, qkv_TI, table_NH, lengths, queries=10_000)
    assert relative_error(found, truth) < (2e-6 if dtype == torch.float32 else 5e-3)


def test_attention_in_pieces_has_the_same_bits(dtype: torch.dtype, kernels: Kernels) -> None:
    torch.manual_seed(0)
    qkv_TI, table_NH, lengths = torch.randn(640, 3 * 4 * 32).to(dtype), torch.randn(64, 4), [40, 600]
    whole = attention(kernels, qkv_TI, table_NH, lengths, queries=10_000)
    for queries in (1, 7, 100):
        assert torch.equal(attention(kernels, qkv_TI, table_NH, lengths, queries), whole)
    alone = attention(kernels, qkv_TI[40:].contiguous(), table_NH, [600], queries=10_000)
    assert torch.equal(alone, whole[40:])


@pytest.mark.parametrize("score", [60.0, 3000.0])
def test_attention_bears_scores_of_any_size(score: float, dtype: torch.dtype, kernels: Kernels) -> None:
    torch.manual_seed(0)
    qkv_TI = torch.randn(90, 3 * 32).mul((score / 32) ** 0.5).to(dtype)
    q, k, v = qkv_TI.view(-1, 3, 1, 32).unbind(1)
    table_NH = torch.zeros(64, 1)
    truth = reference_attention(q.double(), k.double(), v.double(), [90], [90], table_NH.double()).flatten(1)
    found = attention(kernels, qkv_TI, table_NH, [90], queries=90)
    assert relative_error(found, truth) < (1e-3 if dtype == torch.float32 else 5e-3)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_damage_never_vanishes_in_attention(damage: float, place: int, dtype: torch.dtype, kernels: Kernels) -> None:
    qkv_TI = torch.ones(40, 3 * 32, dtype=dtype)
    qkv_TI[20, 32 * place] = damage
    found = attention(kernels, qkv_TI, torch.zeros(64, 1), [40], queries=40)
    assert not torch.isfinite(found[20]).all()


@pytest.mark.parametrize("scaled", [True, False])
def test_norms_and_sums_equal_their_definitions(scaled: bool, dtype: torch.dtype, kernels: Kernels) -> None:
    torch.manual_seed(0)
    x, y, scale = torch.randn(9, 80) * 3, torch.randn(9, 80).to(dtype), torch.randn(80) if scaled else None
    limit = 1e-6 if dtype == torch.float32 else 4e-3
    total = torch.full_like(x, torch.nan)
    normal = kernels.add_and_normalise(x, y, total, scale, 1e-6)
    assert normal.dtype == dtype
    assert torch.equal(total, x + y)
    assert relative_error(normal, rms_norm(x + y, (80,), scale, 1e-6)) < limit
    assert relative_error(kernels.normalise(x, dtype, scale, 1e-6), rms_norm(x, (80,), scale, 1e-6)) < limit
    kernels.add(x, y, x)
    assert torch.equal(x, total)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu"])
def test_activations_equal_their_definitions(
    activation: Activation, gated: bool, dtype: torch.dtype, kernels: Kernels
) -> None:
    x = torch.cat([torch.linspace(-30, 30, 4000), torch.linspace(-2000, 2000, 96)]).reshape(32, 128).to(dtype)
    truth = ACTIVATIONS[activation](x.double())
    if gated:
        truth = truth * x.flip(0).double()
        x = torch.cat([x, x.flip(0)], dim=1)
    found = kernels.activate(x, activation, gated)
    assert relative_error(found, truth) < (1e-6 if dtype == torch.float32 else 4e-3)
    assert torch.allclose(found.double(), truth, rtol=1e-2, atol=1e-4)
    assert kernels.activate(torch.full((1, 32), torch.nan, dtype=dtype), activation, gated).isnan().all()


def test_widths_the_kernels_were_not_written_for_are_not_served(kernels: Kernels, dtype: torch.dtype) -> None:
    assert kernels.serves(ModelConfig(144, 64, 160, 16, 4, 1, 0), dtype)
    assert not kernels.serves(ModelConfig(144, 64, 160, 8, 4, 1, 0), dtype)
    assert not kernels.serves(ModelConfig(144, 64, 160, 272, 4, 1, 0), dtype)
    assert not kernels.serves(ModelConfig(144, 72, 160, 16, 4, 1, 0), dtype)
    assert not kernels.serves(ModelConfig(144, 64, 168, 16, 4, 1, 0), dtype)
    assert not kernels.serves(ModelConfig(144, 64, 160, 16, 4, 1, 0), torch.float16)


def test_a_library_is_compiled_once_and_found_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = processor_flags()
    path = compiled_library(flags) if flags else None
    if path is None:
        pytest.skip("no kernels can be compiled here")
    assert path.parent == own_cache
    assert own_cache.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("CC", "/nowhere/cc")
    assert compiled_library(flags) == path
    assert compiled_library([*flags, "-g"]) is None


def test_without_a_compiler_there_are_no_kernels(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with caplog.at_level(logging.INFO, logger=compilation.__name__):
        assert native.kernels() is None
        assert compiled_library([]) is None
    assert "no C compiler" in caplog.text


@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc -x"])
def test_a_compiler_that_fails_leaves_no_kernels_and_no_file(
    compiler: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert native.kernels() is None
    assert not own_cache.exists() or not list(own_cache.iterdir())


def test_a_library_is_never_taken_from_a_folder_others_can_write(own_cache: Path) -> None:
    own_cache.mkdir()
    own_cache.chmod(0o777)
    assert compiled_library([]) is None


def test_kernels_can_be_refused(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENANKH_COMPILE", "0")
    assert native.kernels() is None
    assert not own_cache.exists()


def test_a_library_that_is_none_or_computes_something_else_is_not_used(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF and no more")
    monkeypatch.setattr(native, "compiled_library", lambda flags: broken)
    assert native.kernels() is None
    monkeypatch.undo()
    monkeypatch.setattr(native, "_is_right_in", lambda found, dtype: False)
    native.kernels.cache_clear()
    assert native.kernels() is None


def test_the_sources_travel_with_the_package() -> None:
    names = {path.name for path in compilation.FOLDER.iterdir()}
    assert {"attention.c", "rows.c", "lanes.h"} <= names
    assert os.access(compilation.FOLDER / "attention.c", os.R_OK)
