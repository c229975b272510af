"""Attention over packed proteins: one function, the kernel chosen by device.

`attend` gives the same numbers whichever kernel runs: Hankel views and flash attention on CPUs, FlexAttention on
CUDA, plain matrices elsewhere or where FlexAttention cannot be compiled.
"""

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

from openankh.attention.dense import dense_attention
from openankh.attention.documents import Documents
from openankh.attention.flex import flex_packed_attention
from openankh.attention.hankel import hankel_attention
from openankh.attention.relative_bias import RelativeBias, bias_by_distance
from openankh.attention.shapes import attention_of_shapes

__all__ = ["Documents", "RelativeBias", "attend", "is_compiled", "relative_bias"]

LONGEST_DENSE = 1024
"""Tokens of a document up to which training on a CPU keeps the attention weights; beyond, it computes them again."""


def attend(
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    queries: Documents,
    keys: Documents,
    bias: RelativeBias | None = None,
) -> Tensor:
    """Unscaled softmax attention of each query document over its key document, (T, H, K).

    T packed queries, S packed keys, H heads, K head width; `bias` as made by `relative_bias` for these documents.
    """
    if is_compiled(q_THK.device):
        return flex_packed_attention(q_THK, k_SHK, v_SHK, queries, keys, bias)
    if q_THK.device.type == "meta":
        return attention_of_shapes(q_THK, k_SHK, v_SHK, None if bias is None else bias.by_distance)
    if q_THK.device.type != "cpu" or _trains_on_short(q_THK, queries, keys):
        return dense_attention(q_THK, k_SHK, v_SHK, queries, keys, bias)
    return hankel_attention(q_THK, k_SHK, v_SHK, queries, keys, bias)


def relative_bias(table_NH: Tensor, documents: Documents, max_distance: int, bidirectional: bool) -> RelativeBias:
    """The bias by distance of a learned table, as far as these documents and the device's kernel need it."""
    span = max_distance + 1 if is_compiled(table_NH.device) else max(documents.longest, 1)
    return bias_by_distance(table_NH, span, max_distance, bidirectional)


def _trains_on_short(q_THK: Tensor, queries: Documents, keys: Documents) -> bool:
    return q_THK.requires_grad and max(queries.longest, keys.longest) <= LONGEST_DENSE


def is_compiled(device: torch.device) -> bool:
    """Whether kernels are compiled for this device: on CUDA where Triton is, unless OPENANKH_COMPILE=0 is set."""
    return device.type == "cuda" and os.environ.get("OPENANKH_COMPILE") != "0" and _has_triton()


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
