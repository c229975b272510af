"""Attention by plain matrix products, documents of equal length together: differentiable, for any device.

On CPUs this is the faster way to train on short documents: the weights are kept for the backward pass instead of
computed again, and memory grows with the square of the length. Where no gradient is wanted the queries of long
documents go in pieces, and memory grows with the length alone. n documents of L queries and M keys, H heads, K head
width.
"""

from collections.abc import Iterator
from itertools import groupby

import torch
from torch import Tensor

from openankh.attention.documents import Documents
from openankh.attention.relative_bias import RelativeBias, hankel_view

MOST_SCORES = 1 << 27
"""Scores that are written out at once where no gradient is wanted."""


def dense_attention(
    q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, queries: Documents, keys: Documents, bias: RelativeBias | None
) -> Tensor:
    """Unscaled softmax attention inside each pair of documents, (T, H, K)."""
    pieces = []
    for count, (q0, q1), (k0, k1) in _equal_neighbours(queries, keys):
        q = _heads_first(q_THK[q0:q1], count)
        k, v = _heads_first(k_SHK[k0:k1], count), _heads_first(v_SHK[k0:k1], count)
        num_scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
        if num_scores > MOST_SCORES and not (q_THK.requires_grad and torch.is_grad_enabled()):
            mixed = _mixed_in_pieces(q, k, v, bias, -(-num_scores // MOST_SCORES))
        else:
            mixed = _mixed(q, k, v, None if bias is None else bias.matrix(q.shape[2], q.dtype))
        pieces.append(mixed.transpose(1, 2).flatten(0, 1))
    return torch.cat(pieces) if pieces else torch.empty_like(q_THK)


def _mixed(q_nHLK: Tensor, k_nHMK: Tensor, v_nHMK: Tensor, bias_HLM: Tensor | None) -> Tensor:
    scores = torch.matmul(q_nHLK, k_nHMK.transpose(-1, -2))
    if bias_HLM is not None:
        scores = scores + bias_HLM
    return torch.matmul(torch.softmax(scores, dim=-1), v_nHMK)


def _mixed_in_pieces(q_nHLK: Tensor, k_nHMK: Tensor, v_nHMK: Tensor, bias: RelativeBias | None, count: int) -> Tensor:
    """The same, so many queries at a time that there are `count` pieces, of each a part of the bias."""
    length = q_nHLK.shape[2]
    hankel_HLL = None if bias is None else hankel_view(bias.of_length(length))
    pieces = []
    for rows in torch.arange(length).chunk(count):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        bias_HLM = None if hankel_HLL is None else hankel_HLL[:, part].flip(-1).to(q_nHLK.dtype)
        pieces.append(_mixed(q_nHLK[:, :, part], k_nHMK, v_nHMK, bias_HLM))
    return torch.cat(pieces, dim=2)


def _heads_first(x_RHK: Tensor, count: int) -> Tensor:
    return x_RHK.unflatten(0, (count, -1)).transpose(1, 2)


def _equal_neighbours(queries: Documents, keys: Documents) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Runs of documents equal in both lengths: their number, and the rows they cover in queries and in keys."""
    pairs = zip(queries, keys, strict=True)
    for lengths, run in groupby(pairs, key=lambda pair: (pair[0][1] - pair[0][0], pair[1][1] - pair[1][0])):
        rows = list(run)
        if lengths[0]:
            yield len(rows), (rows[0][0][0], rows[-1][0][1]), (rows[0][1][0], rows[-1][1][1])
