"""Attention on CPUs: flash kernels, one document at a time, the relative bias a zero-copy view.

Keys and values of a document are reversed, so that the bias is a Hankel matrix, which the kernel reads as a strided
view (see `relative_bias`). Memory is O(L) forward; backward recomputes the scores of one document at a time.

T packed queries, S packed keys, H heads, K head width, R distances; inside one document L queries, M keys.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from openankh.attention.documents import Documents
from openankh.attention.relative_bias import RelativeBias, hankel_view, of_length, sum_diagonals

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def hankel_attention(
    q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, queries: Documents, keys: Documents, bias: RelativeBias | None
) -> Tensor:
    """Unscaled softmax attention inside each pair of documents, (T, H, K); differentiable in q, k, v and the bias."""
    bias_HR = None if bias is None else bias.by_distance
    return _HankelAttention.apply(q_THK, k_SHK, v_SHK, bias_HR, queries, keys)  # type: ignore[no-any-return]


class _HankelAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q_THK, k_SHK, v_SHK, bias_HR, queries, keys):  # type: ignore[override]
        out_THK = torch.empty_like(q_THK, memory_format=torch.contiguous_format)
        training = any(ctx.needs_input_grad)
        normalisers = []
        bias_HR = None if bias_HR is None else bias_HR.to(q_THK.dtype)
        for (q0, q1), (k0, k1) in zip(queries, keys, strict=True):
            if q0 == q1:
                continue
            q, k, v = _heads_first(q_THK[q0:q1], k_SHK[k0:k1], v_SHK[k0:k1], reverse=bias_HR is not None)
            mask = None if bias_HR is None else hankel_view(of_length(bias_HR, q1 - q0))[None]
            if training:
                mixed, normaliser = _flash(q[None], k[None], v[None], attn_mask=mask, scale=1.0)
                normalisers.append(normaliser[0])
            else:
                mixed = scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask, scale=1.0)
            out_THK[q0:q1] = mixed[0].transpose(0, 1)
        if training:
            ctx.save_for_backward(q_THK, k_SHK, v_SHK, bias_HR, out_THK, *normalisers)
            ctx.documents = queries, keys
        return out_THK

    @staticmethod
    def backward(ctx, grad_out_THK):  # type: ignore[override]
        q_THK, k_SHK, v_SHK, bias_HR, out_THK, *normalisers = ctx.saved_tensors
        queries, keys = ctx.documents
        grads = torch.empty_like(q_THK), torch.empty_like(k_SHK), torch.empty_like(v_SHK)
        grad_bias_HR = None if bias_HR is None else torch.zeros_like(bias_HR, dtype=torch.float32)
        remaining = iter(normalisers)
        for (q0, q1), (k0, k1) in zip(queries, keys, strict=True):
            if q0 == q1:
                grads[1][k0:k1].zero_()
                grads[2][k0:k1].zero_()
                continue
            rows = slice(q0, q1), slice(k0, k1), slice(k0, k1)
            q, k, v = _heads_first(q_THK[rows[0]], k_SHK[rows[1]], v_SHK[rows[2]], reverse=bias_HR is not None)
            out, grad_out = out_THK[rows[0]].transpose(0, 1), grad_out_THK[rows[0]].transpose(0, 1)
            grad_q, grad_k, grad_v, grad_scores = _document_backward(q, k, v, bias_HR, out, grad_out, next(remaining))
            if grad_bias_HR is not None:
                of_length(grad_bias_HR, q1 - q0).add_(sum_diagonals(grad_scores))
                grad_k, grad_v = grad_k.flip(1), grad_v.flip(1)
            for target, row, grad in zip(grads, rows, (grad_q, grad_k, grad_v), strict=True):
                target[row] = grad.transpose(0, 1)
        return *grads, grad_bias_HR, None, None


def _heads_first(q_LHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    if reverse:
        k_MHK, v_MHK = k_MHK.flip(0), v_MHK.flip(0)
    return q_LHK.transpose(0, 1), k_MHK.transpose(0, 1), v_MHK.transpose(0, 1)


def _document_backward(
    q_HLK: Tensor,
    k_HMK: Tensor,
    v_HMK: Tensor,
    bias_HR: Tensor | None,
    out_HLK: Tensor,
    grad_out_HLK: Tensor,
    normaliser_HL: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and of the scores, by the flash attention identity dS = P * (dP - rowsum(dO * O))."""
    scores = torch.bmm(q_HLK, k_HMK.transpose(1, 2)).float()
    if bias_HR is not None:
        scores += hankel_view(of_length(bias_HR, q_HLK.shape[1]))
    weights = scores.sub_(normaliser_HL.unsqueeze(-1)).exp_()
    inner = (grad_out_HLK.float() * out_HLK).sum(-1, keepdim=True)
    grad_scores = torch.bmm(grad_out_HLK, v_HMK.transpose(1, 2)).float().sub_(inner).mul_(weights)
    weights, narrow = weights.to(q_HLK.dtype), grad_scores.to(q_HLK.dtype)
    grad_v = torch.bmm(weights.transpose(1, 2), grad_out_HLK)
    return torch.bmm(narrow, k_HMK), torch.bmm(narrow.transpose(1, 2), q_HLK), grad_v, grad_scores
