"""Attention on GPUs: FlexAttention over packed documents, reading the relative bias from its vector by distance.

The kernel visits only the tiles in which a query and a key share a document. The bias is looked up at the clamped
distance, since all distances beyond the farthest bucket share one number, so the vector has the same length whatever
the proteins. H heads, T packed queries, S packed keys, K head width, R distances.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from openankh.attention.documents import Documents
from openankh.attention.relative_bias import RelativeBias

NUM_KERNELS = 64
"""Variants of a function that may be compiled in one process."""


def flex_packed_attention(
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    queries: Documents,
    keys: Documents,
    bias: RelativeBias | None,
) -> Tensor:
    """Unscaled softmax attention inside each pair of documents, (T, H, K)."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q_THK, k_SHK, v_SHK))
    mask = _block_mask(queries, keys, bias is not None and bias.causal, q_THK.device)
    kernel = _compiled(flex_attention) if q_THK.is_cuda else flex_attention
    score_mod = None if bias is None else _bias_lookup(bias.by_distance)
    out = kernel(q, k, v, score_mod=score_mod, block_mask=mask, scale=1.0)
    assert isinstance(out, Tensor)
    return out[0].transpose(0, 1)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled for sizes that change; compiled anew for each kind of mask and bias, with gradients and
    without, and at worst for each pair of sizes.
    """
    # Beyond its limit PyTorch would go on uncompiled and write out all pairs of tokens, which no memory holds.
    torch._dynamo.config.recompile_limit = max(NUM_KERNELS, torch._dynamo.config.recompile_limit)
    return torch.compile(function, dynamic=True, fullgraph=True)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve training too, whoever asks first
def _block_mask(queries: Documents, keys: Documents, causal: bool, device: torch.device) -> BlockMask:
    """Which tiles of (query, key) to visit; all layers of a pass share it."""
    query_owner, key_owner = queries.owners(device), keys.owners(device)

    def same_document(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        together = query_owner[i] == key_owner[j]
        return together & (j <= i) if causal else together

    build = _compiled(create_block_mask) if device.type == "cuda" else create_block_mask
    return build(same_document, None, None, queries.num_tokens, keys.num_tokens, device=device)


def _bias_lookup(bias_HR: Tensor) -> Callable[..., Tensor]:
    """A score_mod that adds the bias of distance j - i, which packed positions of one document keep."""
    farthest = (bias_HR.shape[1] - 1) // 2

    def add_bias(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score + bias_HR[head, torch.clamp(i - j, -farthest, farthest) + farthest]

    return add_bias
