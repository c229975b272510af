"""Decoding token by token with a key-value cache: only the new token's work a step.

B proteins decoded side by side, S packed encoder tokens, D model width, H heads, K head width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from openankh.attention import Documents, attend
from openankh.attention.relative_bias import bias_by_distance
from openankh.model import Ankh, Attention, project, project_together


@dataclass(frozen=True)
class _LayerCache:
    """Of one decoder layer: its own keys and values so far (B, H, longest, K), and the encoder's (S, H, K)."""

    own_keys: Tensor
    own_values: Tensor
    source_keys: Tensor
    source_values: Tensor


class Decoding:
    """The decoder at work on B proteins; all stand at the same step.

    `memory_SD` are the encoder's states of the proteins, `sources` their boundaries, `longest` the room in steps.
    """

    @torch.inference_mode()
    def __init__(self, model: Ankh, memory_SD: Tensor, sources: Documents, longest: int):
        self.model, self.sources, self.longest = model, sources, longest
        self.step_number = 0
        self._ones = Documents.of_lengths([1] * len(sources))
        self._layers = [self._cache(block.across.EncDecAttention, memory_SD) for block in model.decoder.blocks]
        table_NH = model.decoder.bias_table_NH
        distance = model.config.relative_distance
        bias = bias_by_distance(table_NH, longest, distance, bidirectional=False)
        # Entry 0 is the token itself, entry n the token n steps back.
        self._bias_back_HL = bias.by_distance[:, longest - 1 :].to(memory_SD.dtype)

    @torch.inference_mode()
    def step(self, tokens_B: Tensor) -> Tensor:
        """Read one token a protein (`<pad>` first) and return the logits of the next one, (B, V)."""
        assert self.step_number < self.longest, f"room for {self.longest} steps"
        x_BD = self.model.embed_tokens(tokens_B, self._bias_back_HL.dtype)
        for block, cache in zip(self.model.decoder.blocks, self._layers, strict=True):
            x_BD = x_BD + self._attend_back(block.own.SelfAttention, block.own.layer_norm(x_BD), cache)
            x_BD = x_BD + self._attend_across(block.across.EncDecAttention, block.across.layer_norm(x_BD), cache)
            x_BD = block.feed_forward(x_BD)
        self.step_number += 1
        return self.model.head(self.model.decoder.final_layer_norm(x_BD))

    def _cache(self, attention: Attention, memory_SD: Tensor) -> _LayerCache:
        keys, values = project_together(memory_SD, attention.k, attention.v)
        config = self.model.config
        room = (len(self.sources), config.num_heads, self.longest, config.d_kv)
        return _LayerCache(
            own_keys=memory_SD.new_empty(room),
            own_values=memory_SD.new_empty(room),
            source_keys=attention.split_heads(keys),
            source_values=attention.split_heads(values),
        )

    def _attend_back(self, attention: Attention, x_BD: Tensor, cache: _LayerCache) -> Tensor:
        """Attend to the tokens so far, the new one included."""
        now = self.step_number
        qkv = project_together(x_BD, attention.q, attention.k, attention.v)
        q_BHK, k_BHK, v_BHK = (attention.split_heads(part) for part in qkv)
        cache.own_keys[:, :, now], cache.own_values[:, :, now] = k_BHK, v_BHK
        bias_HL = self._bias_back_HL[:, : now + 1].flip(-1)
        mixed = scaled_dot_product_attention(
            q_BHK.unsqueeze(2),
            cache.own_keys[:, :, : now + 1],
            cache.own_values[:, :, : now + 1],
            attn_mask=bias_HL[None, :, None, :],
            scale=1.0,
        )
        return project(mixed.squeeze(2).flatten(1), attention.o)

    def _attend_across(self, attention: Attention, x_BD: Tensor, cache: _LayerCache) -> Tensor:
        q_BHK = attention.split_heads(project(x_BD, attention.q))
        mixed = attend(q_BHK, cache.source_keys, cache.source_values, self._ones, self.sources)
        return project(mixed.flatten(1), attention.o)
