"""The decoder's matrices made ready for writing a token at a time.

D model width, I inner width of all heads, V vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from openankh.fused_linear import FusedLinear, fuse_linear
from openankh.model import Ankh, Block, GatedFeedForward, PlainFeedForward
from openankh.weight_packer import Packer


@dataclass(frozen=True)
class LayerWeights:
    """One layer; `inner` holds the feed-forward's gate too, where it has one. The norms' weights are None where the
    matrices after them hold them."""

    qkv: FusedLinear
    out: FusedLinear
    source_q: FusedLinear
    source_kv: FusedLinear
    source_out: FusedLinear
    inner: FusedLinear
    down: FusedLinear
    own_norm_D: Tensor | None
    source_norm_D: Tensor | None
    feed_forward_norm_D: Tensor | None

    @classmethod
    def of(cls, block: Block, packer: Packer) -> "LayerWeights":
        """Pack one block of the decoder."""
        own, across, feed_forward = block.own, block.across, block.feed_forward
        attention, source, dense = own.SelfAttention, across.EncDecAttention, feed_forward.DenseReluDense
        gated = isinstance(dense, GatedFeedForward)
        inner = (dense.wi_0, dense.wi_1) if gated else (cast(PlainFeedForward, dense).wi,)
        return cls(
            qkv=packer.fuse(attention.q, attention.k, attention.v, norm=own.layer_norm),
            out=packer.fuse(attention.o),
            source_q=packer.fuse(source.q, norm=across.layer_norm),
            source_kv=packer.fuse(source.k, source.v),
            source_out=packer.fuse(source.o),
            inner=packer.fuse(*inner, norm=feed_forward.layer_norm),
            down=packer.fuse(dense.wo),
            own_norm_D=packer.norm(own.layer_norm),
            source_norm_D=packer.norm(across.layer_norm),
            feed_forward_norm_D=packer.norm(feed_forward.layer_norm),
        )


class DecoderWeights:
    """All layers, the words read and the head; logits are always computed in fp32, so that rounding makes no ties."""

    @torch.no_grad()
    def __init__(self, model: Ankh, packer: Packer) -> None:
        config = model.config
        self.config = config
        self.dtype = packer.kind.dtype
        self.words_VD = model.shared.weight.detach().to(self.dtype)
        self.layers = [LayerWeights.of(block, packer) for block in model.decoder.blocks]
        self.final_norm_D = model.decoder.final_layer_norm.weight.detach().float()
        scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self.head = fuse_linear(model.head_weight.detach().float() * scale)
        self.bias_table_NH = model.decoder.bias_table_NH.detach()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.words_VD.device
