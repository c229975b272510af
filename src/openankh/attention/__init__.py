"""Attention over packed proteins: one function, the kernel chosen by device.

`attend` gives the same numbers whichever kernel runs: Hankel views and flash attention on CPUs, FlexAttention on CUDA, plain
matrices elsewhere or where FlexAttention cannot be compiled.
"""

import importlib.util

import torch
from torch import Tensor

from openankh.attention.dense import dense_attention
from openankh.attention.documents import Documents
from openankh.attention.flex import flex_packed_attention
from openankh.attention.hankel import hankel_attention
from openankh.attention.relative_bias import bias_by_distance

__all__ = ["Documents", "attend", "relative_bias"]


def attend(
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    queries: Documents,
    keys: Documents,
    bias_HR: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """Unscaled softmax attention of each query document over its key document, (T, H, K).

    T packed queries, S packed keys, H heads, K head width; `bias_HR` as made by `relative_bias` for these documents. A
    `causal` bias already holds -inf for keys ahead; the flag lets kernels skip them.
    """
    if _uses_flex(q_THK.device):
        return flex_packed_attention(q_THK, k_SHK, v_SHK, queries, keys, bias_HR, causal)
    if q_THK.device.type == "cpu":
        return hankel_attention(q_THK, k_SHK, v_SHK, queries, keys, bias_HR)
    return dense_attention(q_THK, k_SHK, v_SHK, queries, keys, bias_HR)


def relative_bias(table_NH: Tensor, documents: Documents, max_distance: int, bidirectional: bool) -> Tensor:
    """The bias by distance (H, R) of a learned table, as far as these documents and the device's kernel need it."""
    span = max_distance + 1 if _uses_flex(table_NH.device) else max(documents.longest, 1)
    return bias_by_distance(table_NH, span, max_distance, bidirectional)


def _uses_flex(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
