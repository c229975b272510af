"""The encoder's layers as a CPU runs them with torch alone.

T packed tokens, D model width, H heads, K head width, I inner width of all heads, F feed-forward width.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import embedding, rms_norm

from openankh.attention import Documents, RelativeBias, attend
from openankh.attention.tiles import tiled_attention
from openankh.config import ModelConfig
from openankh.fused_linear import FusedLinear, onednn_serves
from openankh.model import Ankh, Block, EncoderOutput, GatedFeedForward, PlainFeedForward, run_layers
from openankh.weight_packer import Packer, pieces

CHUNK = 512
"""Tokens that go through a feed-forward together: their activations stay in a core's own cache."""


class TorchStack:
    """All layers of an encoder, packed."""

    def __init__(self, model: Ankh, packer: Packer) -> None:
        stack = model.encoder
        self._words_VD = model.shared.weight.detach().to(packer.kind.dtype)
        self._bias: Callable[[Documents], RelativeBias] = stack.bias
        self._layers = [_Layer.of(block, model.config, packer) for block in stack.blocks]
        self._final_norm = stack.final_layer_norm

    def run(self, tokens_T: Tensor, documents: Documents, layers: Collection[int]) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`."""
        bias = self._bias(documents)

        def run(layer: _Layer, x_TD: Tensor) -> Tensor:
            return layer(x_TD, documents, bias)

        x_TD = embedding(tokens_T, self._words_VD).float()
        output = run_layers(x_TD, self._layers, run, self._final_norm, layers)
        return output.to(self._words_VD.dtype)


@dataclass(frozen=True)
class _Layer:
    """One layer; `gate`, `up` and `down` are in parts, one after the other few enough numbers for cache.

    `gate` is None where the feed-forward has no gate, the norms' weights where the matrices hold them.
    """

    qkv: FusedLinear
    out: FusedLinear
    gate: tuple[FusedLinear, ...] | None
    up: tuple[FusedLinear, ...]
    down: tuple[FusedLinear, ...]
    own_norm_D: Tensor | None
    feed_forward_norm_D: Tensor | None
    dtype: torch.dtype
    config: ModelConfig

    @classmethod
    def of(cls, block: Block, config: ModelConfig, packer: Packer) -> "_Layer":
        own, feed_forward = block.own, block.feed_forward
        attention, dense = own.SelfAttention, feed_forward.DenseReluDense
        gated = isinstance(dense, GatedFeedForward)
        up = dense.wi_1 if gated else cast(PlainFeedForward, dense).wi
        return cls(
            qkv=packer.fuse(attention.q, attention.k, attention.v, norm=own.layer_norm),
            out=packer.fuse(attention.o),
            gate=packer.fuse_parts(dense.wi_0, norm=feed_forward.layer_norm) if gated else None,
            up=packer.fuse_parts(up, norm=feed_forward.layer_norm),
            down=packer.fuse_sums(dense.wo),
            own_norm_D=packer.norm(own.layer_norm),
            feed_forward_norm_D=packer.norm(feed_forward.layer_norm),
            dtype=packer.kind.dtype,
            config=config,
        )

    def __call__(self, x_TD: Tensor, documents: Documents, bias: RelativeBias) -> Tensor:
        x_TD = self._attend(x_TD, documents, bias)
        out_TD = torch.empty_like(x_TD)
        for rows in pieces(len(x_TD), CHUNK):
            out_TD[rows] = self._feed_forward(x_TD[rows])
        return out_TD

    def _attend(self, x_TD: Tensor, documents: Documents, bias: RelativeBias) -> Tensor:
        qkv_TI = self.qkv(self._normal(x_TD, self.own_norm_D))
        q_THK, k_THK, v_THK = qkv_TI.view(-1, 3, self.config.num_heads, self.config.d_kv).unbind(1)
        if onednn_serves(self.dtype):
            mixed_THK = tiled_attention(q_THK, k_THK, v_THK, documents, bias)
        else:
            mixed_THK = attend(q_THK, k_THK, v_THK, documents, documents, bias)
        return self.out.plus(mixed_THK.flatten(1), x_TD)

    def _feed_forward(self, x_TD: Tensor) -> Tensor:
        normal_TD = self._normal(x_TD, self.feed_forward_norm_D)
        activation = self.config.activation
        for gate, up, down in zip(self.gate or [None] * len(self.up), self.up, self.down, strict=True):
            if gate is None:
                hidden_TF = up.activated(normal_TD, activation)
            else:
                hidden_TF = up.times(normal_TD, gate.activated(normal_TD, activation))
            x_TD = down.plus(hidden_TF, x_TD)
        return x_TD

    def _normal(self, x_TD: Tensor, weight_D: Tensor | None) -> Tensor:
        """Unit mean square, times the learned weight unless that is part of the matrix that follows."""
        return rms_norm(x_TD, (x_TD.shape[-1],), weight_D, self.config.norm_eps).to(self.dtype)
