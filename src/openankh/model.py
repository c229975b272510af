"""The Ankh network: a T5 v1.1 encoder-decoder over packed proteins (Ankh paper, architecture; ANKH checkpoints'
layout).

Module names are those of Hugging Face's T5, so a state dict is a checkpoint. There is no padding and no attention mask:
tokens of many proteins lie end to end and `Documents` holds their boundaries.

T packed tokens, S packed encoder tokens under a decoder, D model width, H heads, K head width, F feed-forward width,
V vocabulary, N relative buckets, R distances.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, relu, rms_norm, silu

from openankh.attention import Documents, RelativeBias, attend, relative_bias
from openankh.config import ModelConfig

Layer = TypeVar("Layer")


@dataclass(frozen=True)
class EncoderOutput:
    """What a stack returns: the layers asked for.

    `states[0]` is the embedded input, `states[n]` the output of layer n; as in transformers' `hidden_states` the last
    one has passed the final norm.
    """

    states: dict[int, Tensor]
    num_layers: int

    @property
    def last_TD(self) -> Tensor:
        """The last layer, after the final norm; it must have been asked for."""
        assert self.num_layers in self.states, f"layers {sorted(self.states)} were asked for, not {self.num_layers}"
        return self.states[self.num_layers]

    def to(self, dtype: torch.dtype) -> "EncoderOutput":
        """The same in other numbers."""
        return EncoderOutput({layer: state_TD.to(dtype) for layer, state_TD in self.states.items()}, self.num_layers)


class RMSNorm(nn.Module):
    """Scale to unit mean square, in fp32, then by a learned weight; no mean, no bias."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_TD: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """In `dtype`, by default that of the input."""
        normal_TD = rms_norm(x_TD.float(), (x_TD.shape[-1],), eps=self.eps)
        return (normal_TD * self.weight.float()).to(dtype or x_TD.dtype)


class Attention(nn.Module):
    """The four projections of one attention; the relative bias is a table in the first layer of a stack."""

    def __init__(self, config: ModelConfig, has_bias: bool = False) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q = nn.Linear(config.d_model, config.inner, bias=False)
        self.k = nn.Linear(config.d_model, config.inner, bias=False)
        self.v = nn.Linear(config.d_model, config.inner, bias=False)
        self.o = nn.Linear(config.inner, config.d_model, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_buckets, config.num_heads)

    def split_heads(self, x_TI: Tensor) -> Tensor:
        return x_TI.unflatten(-1, (self.num_heads, -1))

    def forward(self, x_TD: Tensor, documents: Documents, bias: RelativeBias) -> Tensor:
        """Attend within each document, (T, D)."""
        qkv = project_together(x_TD, self.q, self.k, self.v)
        q, k, v = (self.split_heads(part) for part in qkv)
        return project(attend(q, k, v, documents, documents, bias).flatten(1), self.o)

    def across(self, x_TD: Tensor, memory_SD: Tensor, queries: Documents, keys: Documents) -> Tensor:
        """Attend from decoder tokens to the encoder states of the same protein, (T, D)."""
        q = self.split_heads(project(x_TD, self.q))
        k, v = (self.split_heads(part) for part in project_together(memory_SD, self.k, self.v))
        return project(attend(q, k, v, queries, keys).flatten(1), self.o)


class GatedFeedForward(nn.Module):
    """wo(act(wi_0 x) * wi_1 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.activation = config.activation

    def forward(self, x_TD: Tensor) -> Tensor:
        gate_TF, up_TF = project_together(x_TD, self.wi_0, self.wi_1)
        return project(activate(gate_TF, self.activation) * up_TF, self.wo)


class PlainFeedForward(nn.Module):
    """wo(act(wi x)), of the ablations without a gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.activation = config.activation

    def forward(self, x_TD: Tensor) -> Tensor:
        return project(activate(project(x_TD, self.wi), self.activation), self.wo)


class SelfAttentionLayer(nn.Module):
    """Norm, self-attention, residual."""

    def __init__(self, config: ModelConfig, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(config, has_bias)
        self.layer_norm = RMSNorm(config.d_model, config.norm_eps)

    def forward(
        self, x_TD: Tensor, documents: Documents, bias: RelativeBias, dtype: torch.dtype | None = None
    ) -> Tensor:
        """`dtype`: of the products, by default that of the input."""
        return x_TD + self.SelfAttention(self.layer_norm(x_TD, dtype), documents, bias)


class CrossAttentionLayer(nn.Module):
    """Norm, attention to the encoder, residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.EncDecAttention = Attention(config)
        self.layer_norm = RMSNorm(config.d_model, config.norm_eps)

    def forward(
        self,
        x_TD: Tensor,
        memory_SD: Tensor,
        queries: Documents,
        keys: Documents,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """`dtype`: of the products, by default that of the input."""
        return x_TD + self.EncDecAttention.across(self.layer_norm(x_TD, dtype), memory_SD, queries, keys)


class FeedForwardLayer(nn.Module):
    """Norm, feed-forward, residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.DenseReluDense = GatedFeedForward(config) if config.gated else PlainFeedForward(config)
        self.layer_norm = RMSNorm(config.d_model, config.norm_eps)

    def forward(self, x_TD: Tensor, piece: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """`piece`: tokens that go through together, by default all; fewer take less memory, with no gradient kept.

        `dtype`: of the products, by default that of the input.
        """
        if piece is None:
            return x_TD + self.DenseReluDense(self.layer_norm(x_TD, dtype))
        return torch.cat([self.forward(part_TD, dtype=dtype) for part_TD in x_TD.split(piece)])


class Block(nn.Module):
    """One layer of a stack: self-attention, in a decoder cross-attention, feed-forward."""

    def __init__(self, config: ModelConfig, has_bias: bool, is_decoder: bool) -> None:
        super().__init__()
        attention: list[nn.Module] = [SelfAttentionLayer(config, has_bias)]
        if is_decoder:
            attention.append(CrossAttentionLayer(config))
        self.layer = nn.ModuleList([*attention, FeedForwardLayer(config)])

    def forward(
        self,
        x_TD: Tensor,
        documents: Documents,
        bias: RelativeBias,
        memory_SD: Tensor | None = None,
        sources: Documents | None = None,
        piece: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The whole layer, (T, D); a decoder's is given the encoder's states and their documents.

        `piece` and `dtype` as in its parts.
        """
        x_TD = self.own(x_TD, documents, bias, dtype)
        if memory_SD is not None and sources is not None:
            x_TD = self.across(x_TD, memory_SD, documents, sources, dtype)
        return self.feed_forward(x_TD, piece, dtype)

    @property
    def own(self) -> SelfAttentionLayer:
        """Its self-attention."""
        return cast(SelfAttentionLayer, self.layer[0])

    @property
    def across(self) -> CrossAttentionLayer:
        """Its attention to the encoder; only a decoder's block has it."""
        return cast(CrossAttentionLayer, self.layer[1])

    @property
    def feed_forward(self) -> FeedForwardLayer:
        """Its feed-forward."""
        return cast(FeedForwardLayer, self.layer[-1])


class Stack(nn.Module):
    """The encoder or the decoder: blocks and a final norm; the first block owns the relative bias."""

    def __init__(self, config: ModelConfig, is_decoder: bool) -> None:
        super().__init__()
        num_layers = config.num_decoder_layers if is_decoder else config.num_encoder_layers
        self.block = nn.ModuleList(Block(config, has_bias=n == 0, is_decoder=is_decoder) for n in range(num_layers))
        self.final_layer_norm = RMSNorm(config.d_model, config.norm_eps)
        self.is_decoder = is_decoder
        self.relative_distance = config.relative_distance

    @property
    def blocks(self) -> list[Block]:
        """The layers, first to last."""
        return [cast(Block, block) for block in self.block]

    @property
    def bias_table_NH(self) -> Tensor:
        """The learned relative bias of each bucket and head."""
        return self.blocks[0].own.SelfAttention.relative_attention_bias.weight

    def bias(self, documents: Documents) -> RelativeBias:
        """The relative bias that all layers add."""
        return relative_bias(self.bias_table_NH, documents, self.relative_distance, bidirectional=not self.is_decoder)


class Ankh(nn.Module):
    """The whole network; its weights are drawn by `initialise` or loaded by `load_model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, is_decoder=False)
        if config.num_decoder_layers:
            self.decoder = Stack(config, is_decoder=True)
            if not config.tied_head:
                self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def embed_tokens(self, tokens_T: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Input embeddings (T, D), in `dtype` (default: that of the weights), which all later arithmetic follows."""
        return self.shared(tokens_T).to(dtype or self.shared.weight.dtype)

    def encode(
        self,
        tokens_T: Tensor,
        documents: Documents,
        layers: Collection[int] = (),
        dtype: torch.dtype | None = None,
        piece: int | None = None,
    ) -> EncoderOutput:
        """Encode packed proteins up to the highest of `layers`, the states to return; of none, up to the last.

        All arithmetic is in `dtype`; by default in that of the weights, but for the sum that runs through the layers,
        which between bf16 products stays in fp32. Feed-forwards take so many tokens at a time as `piece` tells, by
        default all.
        """
        embedded_TD = self.embed_tokens(tokens_T, dtype)
        x_TD, products = _sum_of_layers(embedded_TD, is_free=dtype is None)
        bias = self.encoder.bias(documents)

        def run(block: Block, x_TD: Tensor) -> Tensor:
            return block(x_TD, documents, bias, piece=piece, dtype=products)

        states = run_layers(x_TD, self.encoder.blocks, run, self.encoder.final_layer_norm, layers)
        return states.to(embedded_TD.dtype)

    def decode_states(self, tokens_T: Tensor, documents: Documents, memory_SD: Tensor, sources: Documents) -> Tensor:
        """Decoder states after the final norm, (T, D), of target tokens already shifted right by `<pad>`."""
        return self.decode_layers(tokens_T, documents, memory_SD, sources).last_TD

    def decode_layers(
        self,
        tokens_T: Tensor,
        documents: Documents,
        memory_SD: Tensor,
        sources: Documents,
        layers: Collection[int] = (),
        piece: int | None = None,
    ) -> EncoderOutput:
        """Decode target tokens, already shifted right by `<pad>`, up to the highest of `layers`; of none, to the last.

        `piece` as in `encode`; arithmetic is in the numbers of `memory_SD`, and the sum of the layers as in `encode`
        where the weights are of the same.
        """
        assert len(documents) == len(sources), f"{len(documents)} targets for {len(sources)} proteins"
        embedded_TD = self.embed_tokens(tokens_T, memory_SD.dtype)
        y_TD, products = _sum_of_layers(embedded_TD, is_free=memory_SD.dtype == self.shared.weight.dtype)
        bias = self.decoder.bias(documents)

        def run(block: Block, y_TD: Tensor) -> Tensor:
            return block(y_TD, documents, bias, memory_SD, sources, piece, products)

        states = run_layers(y_TD, self.decoder.blocks, run, self.decoder.final_layer_norm, layers)
        return states.to(memory_SD.dtype)

    def head(self, states_TD: Tensor) -> Tensor:
        """Logits over the vocabulary, (T, V)."""
        if self.config.scale_decoder_outputs:
            states_TD = states_TD * self.config.d_model**-0.5
        return linear(states_TD, self.head_weight.to(states_TD.dtype))

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D): the input embedding when tied."""
        return self.shared.weight if self.config.tied_head else self.lm_head.weight

    def decode(self, tokens_T: Tensor, documents: Documents, memory_SD: Tensor, sources: Documents) -> Tensor:
        """Logits (T, V) of target tokens already shifted right by `<pad>`."""
        return self.head(self.decode_states(tokens_T, documents, memory_SD, sources))


def run_layers(
    x_TD: Tensor,
    stack: Sequence[Layer],
    run: Callable[[Layer, Tensor], Tensor],
    final_norm: Callable[[Tensor], Tensor],
    wanted: Collection[int],
) -> EncoderOutput:
    """Run a stack's layers on the embedded input, none beyond the highest wanted; of none wanted, to the last."""
    wanted = set(wanted) or {len(stack)}
    assert min(wanted) >= 0 and max(wanted) <= len(stack), f"layers {sorted(wanted)} of {len(stack)}"
    states = {0: x_TD} if 0 in wanted else {}
    for number, layer in enumerate(stack[: max(wanted)], start=1):
        x_TD = run(layer, x_TD)
        if number in wanted:
            states[number] = final_norm(x_TD) if number == len(stack) else x_TD
    return EncoderOutput(states, len(stack))


def _sum_of_layers(embedded_TD: Tensor, is_free: bool) -> tuple[Tensor, torch.dtype | None]:
    """What the layers add to, and the type of their products where that is another.

    Rounding the sum to bf16 twice a layer would be the largest of bf16's errors: where its type is free it is fp32.
    """
    if is_free and embedded_TD.dtype == torch.bfloat16:
        return embedded_TD.float(), torch.bfloat16
    return embedded_TD, None


def project(x_TD: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer in the dtype of its input."""
    return linear(x_TD, layer.weight.to(x_TD.dtype))


def project_together(x_TD: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
    """Apply several linear layers to the same input as one matrix product."""
    weight = torch.cat([layer.weight.to(x_TD.dtype) for layer in layers])
    return linear(x_TD, weight).chunk(len(layers), dim=-1)


def activate(x: Tensor, activation: str) -> Tensor:
    """The named activation; gelu in its tanh form."""
    if activation == "gelu":
        return gelu(x, approximate="tanh")
    return silu(x) if activation == "silu" else relu(x)
