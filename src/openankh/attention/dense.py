"""Attention by plain matrix products, documents of equal length together: differentiable, for any device.

On CPUs this is the faster way to train on short documents: the weights are kept for the backward pass instead of
computed again. Memory grows with the square of the length. n documents of L queries and M keys, H heads, K head
width.
"""

from collections.abc import Iterator
from itertools import groupby

import torch
from torch import Tensor

from openankh.attention.documents import Documents
from openankh.attention.relative_bias import RelativeBias


def dense_attention(
    q_THK: Tensor, k_SHK: Tensor, v_SHK: Tensor, queries: Documents, keys: Documents, bias: RelativeBias | None
) -> Tensor:
    """Unscaled softmax attention inside each pair of documents, (T, H, K)."""
    pieces = []
    for count, (q0, q1), (k0, k1) in _equal_neighbours(queries, keys):
        q = _heads_first(q_THK[q0:q1], count)
        k, v = _heads_first(k_SHK[k0:k1], count), _heads_first(v_SHK[k0:k1], count)
        scores = torch.matmul(q, k.transpose(-1, -2))
        if bias is not None:
            scores = scores + bias.matrix(q.shape[2], scores.dtype)
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
        pieces.append(mixed.transpose(1, 2).flatten(0, 1))
    return torch.cat(pieces) if pieces else torch.empty_like(q_THK)


def _heads_first(x_RHK: Tensor, count: int) -> Tensor:
    return x_RHK.unflatten(0, (count, -1)).transpose(1, 2)


def _equal_neighbours(queries: Documents, keys: Documents) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Runs of documents equal in both lengths: their number, and the rows they cover in queries and in keys."""
    pairs = zip(queries, keys, strict=True)
    for lengths, run in groupby(pairs, key=lambda pair: (pair[0][1] - pair[0][0], pair[1][1] - pair[1][0])):
        rows = list(run)
        if lengths[0]:
            yield len(rows), (rows[0][0][0], rows[-1][0][1]), (rows[0][1][0], rows[-1][1][1])
