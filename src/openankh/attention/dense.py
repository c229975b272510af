"""Attention one document at a time with the bias written out as a matrix: plain, differentiable, for any device."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from openankh.attention.documents import Documents
from openankh.attention.relative_bias import of_length


def bias_matrix(bias_HR: Tensor, length: int) -> Tensor:
    """The (H, L, L) matrix of a bias by distance."""
    place = torch.arange(length, device=bias_HR.device)
    return of_length(bias_HR, length)[:, (length - 1) - (place[None, :] - place[:, None])]


def dense_attention(
    q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, queries: Documents, keys: Documents, bias_HR: Tensor | None
) -> Tensor:
    """Unscaled softmax attention inside each pair of documents, (T, H, K)."""
    pieces = []
    for (q0, q1), (k0, k1) in zip(queries, keys, strict=True):
        mask = None if bias_HR is None else bias_matrix(bias_HR, q1 - q0).to(q_THK.dtype)[None]
        q, k, v = (x.transpose(0, 1)[None] for x in (q_THK[q0:q1], k_SHK[k0:k1], v_SHK[k0:k1]))
        pieces.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)[0].transpose(0, 1))
    return torch.cat(pieces) if pieces else torch.empty_like(q_THK)
