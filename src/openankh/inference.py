"""The encoder as inference runs it on a CPU: weights packed once, norms folded into them, activations kept in cache.

The sum that runs through the layers stays in fp32, also between bf16 products: rounding it twice a layer would be the
largest of bf16's errors.

`for_inference(model)` gives an object with the `encode` of the model and the same results; elsewhere than on a CPU it
is the model itself.

T packed tokens, D model width, V vocabulary, H heads, K head width, I inner width of all heads, F feed-forward width.
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, rms_norm

from openankh.attention import Documents, RelativeBias, attend
from openankh.attention.tiles import tiled_attention
from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.fused_linear import FusedLinear, fuse_linear, onednn_serves
from openankh.model import Ankh, Block, EncoderOutput, GatedFeedForward, PlainFeedForward, run_layers
from openankh.precision import Precision

CHUNK = 512
"""Tokens that go through a feed-forward together: their activations stay in a core's own cache."""

LONGEST_SUM_FP32 = 768
"""Beyond so many terms the rounding errors of one fp32 sum would lead away from other kernels' by 2e-6 in 48 layers."""


class Encoder(Protocol):
    """What embeds proteins: the network itself, or its packed form."""

    def encode(self, tokens_T: Tensor, documents: Documents, layers: Collection[int] = ()) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`."""
        ...


@dataclass(frozen=True)
class Kind:
    """A way to compute: the type of the activations between matrices, and what makes a matrix (O, I) ready.

    `longest_sum`: products at the end of a feed-forward that sum over more are cut into several. `folds_norms`: the
    norms' weights become part of the matrices after them, which costs a bf16 matrix a second rounding.
    """

    dtype: torch.dtype
    fuse: Callable[[Tensor], FusedLinear]
    longest_sum: int | None = None
    folds_norms: bool = True


_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def for_inference(model: Ankh, precision: Precision = "auto", release: bool = False) -> Encoder:
    """The fastest encoder of these weights where they lie; the model's later changes do not reach it.

    It holds a second copy of the encoder's matrices; with `release` those of the model are given up one by one as they
    are packed, and the model cannot be used any more. Where no packed form serves it is the model itself, or with
    another precision a copy.
    """
    weight = model.shared.weight
    kind = _kind_of(precision, weight)
    if kind is not None:
        return PackedEncoder(model, kind, release)
    dtype = _DTYPES.get(precision, weight.dtype)
    if dtype == weight.dtype:
        return model
    return (model if release else copy.deepcopy(model)).to(dtype)


def _kind_of(precision: Precision, weight: Tensor) -> Kind | None:
    """How the packed encoder computes in this precision; None where it cannot."""
    if precision == "int8":
        raise UserError("precision int8: there is no such encoder yet; use bf16 or fp32")
    dtype = _DTYPES.get(precision, weight.dtype)
    if weight.device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return None
    return _plain_kind(dtype)


def _plain_kind(dtype: torch.dtype) -> Kind:
    if dtype == torch.float32:
        return Kind(dtype, fuse_linear, longest_sum=LONGEST_SUM_FP32)
    return Kind(dtype, fuse_linear, folds_norms=False)


class PackedEncoder:
    """The encoder of an `Ankh`, packed; see `for_inference`."""

    @torch.no_grad()
    def __init__(self, model: Ankh, kind: Kind | None = None, release: bool = False) -> None:
        stack = model.encoder
        kind = kind or _plain_kind(model.shared.weight.dtype)
        self._words_VD = model.shared.weight.detach().to(kind.dtype)
        self._bias: Callable[[Documents], RelativeBias] = stack.bias
        self._layers = [_PackedLayer.of(block, model.config, kind, release) for block in stack.blocks]
        self._final_norm = stack.final_layer_norm

    @torch.no_grad()
    def encode(self, tokens_T: Tensor, documents: Documents, layers: Collection[int] = ()) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`; without gradients."""
        x_TD = embedding(tokens_T, self._words_VD).float()
        bias = self._bias(documents)

        def run(layer: _PackedLayer, x_TD: Tensor) -> Tensor:
            return layer(x_TD, documents, bias)

        states = run_layers(x_TD, self._layers, run, self._final_norm, layers).states
        dtype = self._words_VD.dtype
        return EncoderOutput({number: state_TD.to(dtype) for number, state_TD in states.items()}, len(self._layers))


@dataclass(frozen=True)
class _PackedLayer:
    """One layer; `gate` is None where the feed-forward has no gate, the norms' weights where the matrices hold them."""

    qkv: FusedLinear
    out: FusedLinear
    gate: FusedLinear | None
    up: FusedLinear
    down: tuple[FusedLinear, ...]
    own_norm_D: Tensor | None
    feed_forward_norm_D: Tensor | None
    dtype: torch.dtype
    config: ModelConfig

    @classmethod
    def of(cls, block: Block, config: ModelConfig, kind: Kind, release: bool) -> "_PackedLayer":
        own, feed_forward = block.own, block.feed_forward
        attention, dense = own.SelfAttention, feed_forward.DenseReluDense
        own_norm_D, feed_forward_norm_D = own.layer_norm.weight.float(), feed_forward.layer_norm.weight.float()

        def weight_of(*matrices: nn.Linear, norm_D: Tensor | None = None) -> Tensor:
            weight_OI = torch.cat([matrix.weight for matrix in matrices])
            if norm_D is not None and kind.folds_norms:
                weight_OI = weight_OI.float() * norm_D
            if release:
                for matrix in matrices:
                    matrix.to("meta")
            return weight_OI.to(kind.dtype)

        gated = isinstance(dense, GatedFeedForward)
        up = dense.wi_1 if gated else cast(PlainFeedForward, dense).wi
        num_sums = -(-config.d_ff // (kind.longest_sum or config.d_ff))
        return cls(
            qkv=kind.fuse(weight_of(attention.q, attention.k, attention.v, norm_D=own_norm_D)),
            out=kind.fuse(weight_of(attention.o)),
            gate=kind.fuse(weight_of(dense.wi_0, norm_D=feed_forward_norm_D)) if gated else None,
            up=kind.fuse(weight_of(up, norm_D=feed_forward_norm_D)),
            down=tuple(map(kind.fuse, weight_of(dense.wo).chunk(num_sums, dim=1))),
            own_norm_D=None if kind.folds_norms else own_norm_D,
            feed_forward_norm_D=None if kind.folds_norms else feed_forward_norm_D,
            dtype=kind.dtype,
            config=config,
        )

    def __call__(self, x_TD: Tensor, documents: Documents, bias: RelativeBias) -> Tensor:
        x_TD = self._attend(x_TD, documents, bias)
        out_TD = torch.empty_like(x_TD)
        for start in range(0, len(x_TD), CHUNK):
            # A lone last token joins the piece before: a product of one row is rounded by another kernel, and a protein
            # would no longer have the same bits in any company.
            end = start + CHUNK if start + CHUNK + 1 < len(x_TD) else len(x_TD)
            out_TD[start:end] = self._feed_forward(x_TD[start:end])
            if end == len(x_TD):
                break
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
        if self.gate is None:
            hidden_TF = self.up.activated(normal_TD, activation)
        else:
            hidden_TF = self.up.times(normal_TD, self.gate.activated(normal_TD, activation))
        for down, part_TF in zip(self.down, hidden_TF.chunk(len(self.down), dim=1), strict=True):
            x_TD = down.plus(part_TF, x_TD)
        return x_TD

    def _normal(self, x_TD: Tensor, weight_D: Tensor | None) -> Tensor:
        """Unit mean square, times the learned weight unless that is part of the matrix that follows."""
        return rms_norm(x_TD, (x_TD.shape[-1],), weight_D, self.config.norm_eps).to(self.dtype)
