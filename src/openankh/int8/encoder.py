"""The encoder in 8-bit products: weights one unit an output, activations one unit a token: company never counts.

T packed tokens, D model width, V vocabulary, H heads, K head width, F feed-forward width, R rows that go together.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding

from openankh.attention import Documents, RelativeBias
from openankh.config import Activation, ModelConfig
from openankh.int8 import passes
from openankh.int8.attention import Heads, ascending_bias, int8_attention
from openankh.int8.linear import EncodedRows, Int8Linear, encoded, encoded_normal
from openankh.model import Ankh, Block, EncoderOutput, GatedFeedForward, PlainFeedForward, RMSNorm, run_layers
from openankh.threads import map_on_cores

NUM_ROWS = 512
"""Tokens that go through the products of a layer together: their activations stay in cache."""

_SHAPES: dict[Activation, tuple[float, float]] = {
    "gelu": (1.5957691216, 0.0713548163),
    "silu": (1, 0),
    "relu": (1e20, 0),
}
"""An activation as x sigmoid(x (slope + curve x^2)); relu is its limit."""


class Int8Encoder:
    """The encoder of an `Ankh`, in 8 bits, where `require_int8` lets it run.

    States are fp32. It holds two bytes for each weight; with `release` the matrices of the model are given up one by
    one as they are packed, and the model cannot be used any more.
    """

    @torch.no_grad()
    def __init__(self, model: Ankh, release: bool = False) -> None:
        stack = model.encoder
        self._words_VD = model.shared.weight.detach().float()
        self._bias: Callable[[Documents], RelativeBias] = stack.bias
        self._layers = [_Int8Layer.of(block, model.config, release) for block in stack.blocks]
        self._final_norm = stack.final_layer_norm

    @torch.no_grad()
    def encode(self, tokens_T: Tensor, documents: Documents, layers: Collection[int] = ()) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`; without gradients."""
        bias_HX = ascending_bias(self._bias(documents).by_distance)

        def run(layer: _Int8Layer, x_TD: Tensor) -> Tensor:
            return layer(x_TD, documents, bias_HX)

        return run_layers(embedding(tokens_T, self._words_VD), self._layers, run, self._final_norm, layers)


@dataclass(frozen=True, eq=False)
class _Int8Norm:
    """The half of a norm's weight that scales activations; the other half is part of the matrix that follows.

    So neither rows nor columns become as uneven as when one of them took it all.
    """

    weight_D: NDArray[np.float32]
    eps: float

    @classmethod
    def of(cls, norm: RMSNorm) -> "_Int8Norm":
        return cls(norm.weight.detach().float().abs().sqrt().numpy(), norm.eps)

    def __call__(self, x_TD: NDArray[np.float32]) -> EncodedRows:
        return encoded_normal(x_TD, self.weight_D, self.eps)


@dataclass(frozen=True, eq=False)
class _Int8Layer:
    """One layer; `gate` is None where the feed-forward has no gate."""

    own_norm: _Int8Norm
    qkv: Int8Linear
    out: Int8Linear
    norm: _Int8Norm
    gate: Int8Linear | None
    up: Int8Linear
    down: Int8Linear
    config: ModelConfig

    @classmethod
    def of(cls, block: Block, config: ModelConfig, release: bool) -> "_Int8Layer":
        own, feed_forward = block.own, block.feed_forward
        attention, dense = own.SelfAttention, feed_forward.DenseReluDense

        def pack(*matrices: nn.Linear, norm: RMSNorm | None = None) -> Int8Linear:
            weight_OI = torch.cat([matrix.weight for matrix in matrices]).float()
            if norm is not None:
                weight_D = norm.weight.float()
                weight_OI *= weight_D.sign() * weight_D.abs().sqrt()
            if release:
                for matrix in matrices:
                    matrix.to("meta")
            return Int8Linear(weight_OI)

        norm = feed_forward.layer_norm
        gated = isinstance(dense, GatedFeedForward)
        return cls(
            own_norm=_Int8Norm.of(own.layer_norm),
            qkv=pack(attention.q, attention.k, attention.v, norm=own.layer_norm),
            out=pack(attention.o),
            norm=_Int8Norm.of(norm),
            gate=pack(dense.wi_0, norm=norm) if gated else None,
            up=pack(dense.wi_1 if gated else cast(PlainFeedForward, dense).wi, norm=norm),
            down=pack(dense.wo),
            config=config,
        )

    def __call__(self, x_TD: Tensor, documents: Documents, bias_HX: NDArray[np.float32]) -> Tensor:
        blocks = [slice(start, start + NUM_ROWS) for start in range(0, len(x_TD), NUM_ROWS)]
        before_TD, after_TD = x_TD.numpy(), np.empty(x_TD.shape, np.float32)
        heads = Heads.unwritten(self.config.num_heads, len(x_TD), self.config.d_kv)
        map_on_cores(lambda block: self._write_heads(before_TD[block], block.start, heads), blocks)
        mixed_TI = int8_attention(heads, documents, bias_HX)
        map_on_cores(lambda block: self._write_rows(before_TD[block], mixed_TI[block], after_TD[block]), blocks)
        return torch.from_numpy(after_TD)

    def _write_heads(self, x_RD: NDArray[np.float32], start: int, heads: Heads) -> None:
        rows = self.own_norm(x_RD)
        heads.write(self.qkv(rows), rows, start)

    def _write_rows(
        self, x_RD: NDArray[np.float32], mixed_RI: NDArray[np.float32], after_RD: NDArray[np.float32]
    ) -> None:
        after_RD[:] = x_RD
        mixed = encoded(mixed_RI)
        passes.add_rows(after_RD, self.out(mixed), mixed.units_T)
        hidden = self._hidden(self.norm(after_RD))
        passes.add_rows(after_RD, self.down(hidden), hidden.units_T)

    def _hidden(self, rows: EncodedRows) -> EncodedRows:
        """activation(gate) * up, or without a gate activation(up)."""
        up_RF = self.up(rows)
        hidden = EncodedRows.unwritten(*up_RF.shape)
        slope, curve = map(np.float32, _SHAPES[self.config.activation])
        if self.gate is not None:
            passes.encode_hidden_rows(self.gate(rows), up_RF, rows.units_T, rows.units_T, slope, curve, *hidden.parts)
        else:
            ones_RF, ones_R = np.full_like(up_RF, 0x3F80), np.ones_like(rows.units_T)
            passes.encode_hidden_rows(up_RF, ones_RF, rows.units_T, ones_R, slope, curve, *hidden.parts)
        return hidden
