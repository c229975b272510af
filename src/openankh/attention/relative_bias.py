"""T5's learned relative-position bias, held as one number a head and distance instead of an L x L matrix.

H heads, N buckets, R = 2 * span - 1 distances. The bias of query i and key j depends on j - i alone, so it is a
vector of R numbers ordered by descending j - i: entry r belongs to j - i = span - 1 - r.

With the keys of a document in reverse order (j' = L - 1 - j) the bias of (i, j') is entry i + j': a Hankel matrix,
which a strided view (strides 1, 1) of the vector shows without writing it out.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RelativeBias:
    """The bias of one pass over one batch, shared by all layers of a stack.

    `by_distance` is (H, R); a `causal` one holds -inf for keys ahead, and the flag lets kernels skip them.
    """

    by_distance: Tensor
    causal: bool
    _matrices: dict[int, Tensor] = field(default_factory=dict)

    def of_length(self, length: int) -> Tensor:
        """The part that a document of `length` tokens needs, (H, 2 * length - 1): a view."""
        return of_length(self.by_distance, length)

    def matrix(self, length: int, dtype: torch.dtype) -> Tensor:
        """The bias written out for a document of `length` tokens, (H, L, L); made once a pass, differentiable."""
        if length not in self._matrices:
            self._matrices[length] = _Matrix.apply(self.of_length(length)).to(dtype)  # type: ignore[union-attr]
        return self._matrices[length]


def of_length(bias_HR: Tensor, length: int) -> Tensor:
    """The distances inside a document of `length` tokens, (H, 2 * length - 1): a view."""
    span = (bias_HR.shape[1] + 1) // 2
    assert length <= span, f"bias spans {span} tokens, document has {length}"
    return bias_HR[:, span - length : span + length - 1]


def hankel_view(bias_HR: Tensor) -> Tensor:
    """The (H, L, L) bias over reversed keys of a document with R = 2L - 1 distances, as a view."""
    length = (bias_HR.shape[1] + 1) // 2
    return bias_HR.as_strided((bias_HR.shape[0], length, length), (bias_HR.stride(0), 1, 1), bias_HR.storage_offset())


def sum_diagonals(hankel_HLL: Tensor) -> Tensor:
    """Add up all entries (i, j') of equal i + j', (H, 2L - 1): the transpose of `hankel_view`."""
    heads, length, _ = hankel_HLL.shape
    width = 2 * length - 1
    shifted = hankel_HLL.new_zeros(heads, length, width)
    shifted.as_strided((heads, length, length), (length * width, width + 1, 1)).copy_(hankel_HLL)
    return shifted.sum(1)


class _Matrix(torch.autograd.Function):
    """A bias by distance as a matrix over keys in their own order; the gradient adds up the diagonals."""

    @staticmethod
    def forward(ctx, bias_HR: Tensor) -> Tensor:  # type: ignore[override]
        return hankel_view(bias_HR).flip(-1)

    @staticmethod
    def backward(ctx, grad_HLL: Tensor) -> Tensor:  # type: ignore[override]
        return sum_diagonals(grad_HLL.flip(-1))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too, whoever asks first
def relative_buckets(span: int, num_buckets: int, max_distance: int, bidirectional: bool) -> Tensor:
    """The bucket of each distance j - i from span - 1 down to -(span - 1), int64 (R,).

    T5's rule: half of the buckets a sign when bidirectional; the first half of those hold one distance each, the rest
    grow logarithmically up to `max_distance`, beyond which all distances share the last.
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


def bias_by_distance(table_NH: Tensor, span: int, max_distance: int, bidirectional: bool) -> RelativeBias:
    """Gather the learned table into one bias a head and distance; one-directional stacks are causal."""
    buckets = relative_buckets(span, table_NH.shape[0], max_distance, bidirectional).to(table_NH.device)
    bias_HR = table_NH[buckets].t()
    if not bidirectional:
        ahead = torch.arange(span - 1, -span, -1, device=table_NH.device) > 0
        bias_HR = bias_HR.masked_fill(ahead, -math.inf)
    return RelativeBias(bias_HR.contiguous(), causal=not bidirectional)
