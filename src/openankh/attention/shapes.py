"""Attention on the meta device, whose tensors have shapes and no numbers: what fused kernels keep, and nothing else.

For estimates of memory: queries, keys, values, result and one normaliser a query and head are kept for the way back.
T packed queries, S packed keys, H heads, K head width.
"""

from typing import Any

import torch
from torch import Tensor


def attention_of_shapes(q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, bias_HR: Tensor | None) -> Tensor:
    """A tensor of the result's shape, (T, H, K), that keeps for the way back what FlexAttention does."""
    return _Shapes.apply(q_THK, k_SHK, v_SHK, bias_HR)  # type: ignore[no-any-return]


class _Shapes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> Tensor:
        q_THK = inputs[0]
        assert q_THK is not None
        out_THK = torch.empty_like(q_THK)
        normaliser_TH = q_THK.new_empty(q_THK.shape[:2], dtype=torch.float32)
        ctx.save_for_backward(*inputs, out_THK, normaliser_TH)
        return out_THK

    @staticmethod
    def backward(ctx: Any, grad_THK: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return tuple(None if tensor is None else torch.empty_like(tensor) for tensor in ctx.saved_tensors[:4])
