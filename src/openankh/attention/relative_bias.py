"""T5's learned relative-position bias, held as one number a head and distance instead of an L x L matrix.

H heads, N buckets, R = 2 * span - 1 distances. The bias of query i and key j depends on j - i alone, so it is a vector of R
numbers ordered by descending j - i: entry r belongs to j - i = span - 1 - r.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def relative_buckets(span: int, num_buckets: int, max_distance: int, bidirectional: bool) -> Tensor:
    """The bucket of each distance j - i from span - 1 down to -(span - 1), int64 (R,).

    T5's rule: half of the buckets a sign when bidirectional; the first half of those hold one distance each, the rest grow
    logarithmically up to `max_distance`, beyond which all distances share the last.
    """
    distance = torch.arange(span - 1, -span, -1)
    bucket = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        bucket += (distance > 0) * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = num_buckets // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    coarse = (exact + (ratio * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return bucket + torch.where(distance < exact, distance, coarse)


def bias_by_distance(table_NH: Tensor, span: int, max_distance: int, bidirectional: bool) -> Tensor:
    """Gather the learned table into one bias a head and distance, (H, R); a causal stack gets -inf for keys ahead."""
    buckets = relative_buckets(span, table_NH.shape[0], max_distance, bidirectional).to(table_NH.device)
    bias_HR = table_NH[buckets].t()
    if not bidirectional:
        ahead = torch.arange(span - 1, -span, -1, device=table_NH.device) > 0
        bias_HR = bias_HR.masked_fill(ahead, -math.inf)
    return bias_HR.contiguous()


def of_length(bias_HR: Tensor, length: int) -> Tensor:
    """The part of the bias that a document of `length` tokens needs, (H, 2 * length - 1): a view."""
    span = (bias_HR.shape[1] + 1) // 2
    assert length <= span, f"bias spans {span} tokens, document has {length}"
    return bias_HR[:, span - length : span + length - 1]
