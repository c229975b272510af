"""The encoder's layers as a CPU runs them with the C kernels: the residual in float, and few passes between products.

T packed tokens, D model width, H heads, I inner width of all heads, F feed-forward width, R distances.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import embedding

from openankh.attention import Documents, RelativeBias
from openankh.config import ModelConfig
from openankh.fused_linear import FusedLinear
from openankh.model import Ankh, Block, EncoderOutput, GatedFeedForward, PlainFeedForward, run_layers
from openankh.native import HeadRows, Kernels, ascending
from openankh.threads import map_on_cores
from openankh.weight_packer import Packer, pieces

CHUNK = 1024
"""Tokens that go through a product together: few enough for cache, enough to reuse the matrix."""

GROUP = 2048
"""Tokens that go through a layer together on one thread: their numbers are never asked of the system anew."""

SMALLEST, ROUNDS = 256, 4
"""Tokens that a thread takes of work in common at least, where it comes to take several times; and how many times."""

QUERIES = 1024
"""Queries of one head that a thread takes at a time."""


@dataclass(frozen=True)
class _Group:
    """Neighbouring proteins that go through a layer together: their rows, and those rows in pieces for threads."""

    rows: slice
    pieces: list[slice]
    heads: list[HeadRows]


@dataclass(frozen=True, eq=False)
class _Batch:
    """What all layers need to know of a batch, and room for the largest group, which none has to ask for again."""

    groups: list[_Group]
    bias_HR: Tensor
    qkv_TI: Tensor
    mixed_TI: Tensor


class CompiledStack:
    """All layers of an encoder, packed."""

    def __init__(self, model: Ankh, packer: Packer, kernels: Kernels) -> None:
        stack = model.encoder
        self._dtype = packer.kind.dtype
        self._words_VD = model.shared.weight.detach().to(self._dtype)
        self._bias: Callable[[Documents], RelativeBias] = stack.bias
        self._layers = [_Layer.of(block, model.config, packer, kernels) for block in stack.blocks]
        self._final_D = stack.final_layer_norm.weight.detach().float()
        self._config = model.config
        self._kernels = kernels

    def run(self, tokens_T: Tensor, documents: Documents, layers: Collection[int]) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`."""
        batch = self._batch(documents)

        def run(layer: _Layer, x_TD: Tensor) -> Tensor:
            return layer(x_TD, batch)

        def final_norm(x_TD: Tensor) -> Tensor:
            return self._kernels.normalise(x_TD, self._dtype, self._final_D, self._config.norm_eps)

        x_TD = embedding(tokens_T, self._words_VD).float()
        output = run_layers(x_TD, self._layers, run, final_norm, layers)
        return output.to(self._dtype)

    def _batch(self, documents: Documents) -> _Batch:
        groups = groups_of(documents, self._config.num_heads, torch.get_num_threads())
        bias_HR = ascending(self._bias(documents).by_distance)
        largest = max((group.rows.stop - group.rows.start for group in groups), default=0)
        qkv_TI, mixed_TI = (torch.empty(largest, n * self._config.inner, dtype=self._dtype) for n in (3, 1))
        return _Batch(groups, bias_HR, qkv_TI, mixed_TI)


@dataclass(frozen=True)
class _Layer:
    """One layer; `inner` and `down` are in parts, one after the other few enough numbers for cache.

    `inner` holds the feed-forward's gate too, where it has one. The norms' weights are None where the matrices hold
    them.
    """

    qkv: FusedLinear
    out: FusedLinear
    inner: tuple[FusedLinear, ...]
    down: tuple[FusedLinear, ...]
    own_norm_D: Tensor | None
    feed_forward_norm_D: Tensor | None
    config: ModelConfig
    dtype: torch.dtype
    kernels: Kernels

    @classmethod
    def of(cls, block: Block, config: ModelConfig, packer: Packer, kernels: Kernels) -> "_Layer":
        own, feed_forward = block.own, block.feed_forward
        attention, dense = own.SelfAttention, feed_forward.DenseReluDense
        gated = isinstance(dense, GatedFeedForward)
        inner = (dense.wi_0, dense.wi_1) if gated else (cast(PlainFeedForward, dense).wi,)
        return cls(
            qkv=packer.fuse(attention.q, attention.k, attention.v, norm=own.layer_norm),
            out=packer.fuse(attention.o),
            inner=packer.fuse_parts(*inner, norm=feed_forward.layer_norm),
            down=packer.fuse_sums(dense.wo),
            own_norm_D=packer.norm(own.layer_norm),
            feed_forward_norm_D=packer.norm(feed_forward.layer_norm),
            config=config,
            dtype=packer.kind.dtype,
            kernels=kernels,
        )

    def __call__(self, x_TD: Tensor, batch: _Batch) -> Tensor:
        out_TD = torch.empty_like(x_TD)
        for group in batch.groups:
            self._run(x_TD[group.rows], group, batch, out_TD[group.rows])
        return out_TD

    def _run(self, x_TD: Tensor, group: _Group, batch: _Batch, out_TD: Tensor) -> None:
        """Fill `out_TD` with a group's states after this layer."""
        qkv_TI, mixed_TI = self._projected(x_TD, group, batch), batch.mixed_TI[: len(x_TD)]

        def attend(piece: HeadRows) -> None:
            self.kernels.attend(qkv_TI, batch.bias_HR, piece, mixed_TI)

        def finish(rows: slice) -> None:
            self._finish(x_TD[rows], mixed_TI[rows], out_TD[rows])

        map_on_cores(attend, group.heads)
        map_on_cores(finish, group.pieces)

    def _projected(self, x_TD: Tensor, group: _Group, batch: _Batch) -> Tensor:
        """Queries, keys and values, (T, 3 I)."""

        def projected(x_TD: Tensor) -> Tensor:
            return self.qkv(self.kernels.normalise(x_TD, self.dtype, self.own_norm_D, self.config.norm_eps))

        def project(rows: slice) -> None:
            qkv_TI[rows] = projected(x_TD[rows])

        if len(group.pieces) == 1:
            return projected(x_TD)
        qkv_TI = batch.qkv_TI[: len(x_TD)]
        map_on_cores(project, group.pieces)
        return qkv_TI

    def _finish(self, x_TD: Tensor, mixed_TI: Tensor, out_TD: Tensor) -> None:
        """Fill `out_TD` with what attention and feed-forward add to `x_TD`."""
        kernels, config, scale_D = self.kernels, self.config, self.feed_forward_norm_D
        normal_TD = kernels.add_and_normalise(x_TD, self.out(mixed_TI), out_TD, scale_D, config.norm_eps)
        parts = (
            down(kernels.activate(inner(normal_TD), config.activation, config.gated))
            for inner, down in zip(self.inner, self.down, strict=True)
        )
        sum_TD = next(parts)
        for part_TD in parts:
            kernels.add(sum_TD, part_TD, sum_TD)
        kernels.add(out_TD, sum_TD, out_TD)


def groups_of(documents: Documents, num_heads: int, num_threads: int) -> list[_Group]:
    """Proteins in groups of about GROUP tokens; for several threads, which share the work on each, in one group."""
    whole = [(start, end) for start, end in documents if start < end]
    groups: list[list[tuple[int, int]]] = []
    for start, end in whole:
        if not groups or (num_threads == 1 and end - groups[-1][0][0] > GROUP):
            groups.append([])
        groups[-1].append((start, end))
    return [_group(group, num_heads, num_threads) for group in groups]


def _group(documents: list[tuple[int, int]], num_heads: int, num_threads: int) -> _Group:
    first, num_rows = documents[0][0], documents[-1][1] - documents[0][0]
    rounds = max(-(-num_rows // (num_threads * CHUNK)), min(ROUNDS, num_rows // (num_threads * SMALLEST)), 1)
    size = CHUNK if num_threads == 1 else max(-(-num_rows // (num_threads * rounds)), 2)
    heads = [
        piece for start, end in documents for piece in _head_rows(start - first, end - first, num_heads, num_threads)
    ]
    return _Group(slice(first, first + num_rows), pieces(num_rows, size), heads)


def _head_rows(start: int, end: int, num_heads: int, num_threads: int) -> list[HeadRows]:
    """The attention of a protein in pieces: all of it for one thread; for several a head, and some of its queries."""
    if num_threads == 1:
        return [HeadRows(start, end, 0, num_heads, 0, end - start)]
    firsts = range(0, end - start, QUERIES)
    return [
        HeadRows(start, end, head, head + 1, first, min(first + QUERIES, end - start))
        for head in range(num_heads)
        for first in firsts
    ]
