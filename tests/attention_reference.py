"""Attention as its definition says, in fp64, one document at a time: slow, and independent of the kernels it judges."""

import math

import torch
from torch import Tensor


def reference_bucket(distance: int, num_buckets: int, max_distance: int, bidirectional: bool) -> int:
    """T5's bucket of one distance j - i, by scalar arithmetic."""
    bucket = 0
    if bidirectional:
        num_buckets //= 2
        if distance > 0:
            bucket = num_buckets
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = num_buckets // 2
    if distance < exact:
        return bucket + distance
    far = exact + int(math.log(distance / exact) / math.log(max_distance / exact) * (num_buckets - exact))
    return bucket + min(far, num_buckets - 1)


def reference_attention(
    q_THK: Tensor,
    k_SHK: Tensor,
    v_SHK: Tensor,
    query_lengths: list[int],
    key_lengths: list[int],
    table_NH: Tensor | None = None,
    max_distance: int = 128,
    causal: bool = False,
) -> Tensor:
    """softmax(q k^T + bias) v in each pair of documents; differentiable."""
    pieces, q0, k0 = [], 0, 0
    for num_queries, num_keys in zip(query_lengths, key_lengths, strict=True):
        q, k, v = q_THK[q0 : q0 + num_queries], k_SHK[k0 : k0 + num_keys], v_SHK[k0 : k0 + num_keys]
        scores = torch.einsum("ihk,jhk->hij", q.double(), k.double())
        if table_NH is not None:
            buckets = torch.tensor(
                [
                    [reference_bucket(j - i, table_NH.shape[0], max_distance, not causal) for j in range(num_keys)]
                    for i in range(num_queries)
                ]
            )
            scores = scores + table_NH.double()[buckets].permute(2, 0, 1)
        if causal:
            scores = scores.masked_fill(torch.ones(num_queries, num_keys).triu(1).bool(), -math.inf)
        pieces.append(torch.einsum("hij,jhk->ihk", scores.softmax(-1), v.double()))
        q0, k0 = q0 + num_queries, k0 + num_keys
    return torch.cat(pieces)
