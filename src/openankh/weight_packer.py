"""The encoder's matrices made ready for inference: those of one input joined, norms folded in, packed by their kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from openankh.fused_linear import FusedLinear, fuse_linear
from openankh.model import RMSNorm

LONGEST_SUM_FP32 = 768
"""Beyond so many terms the rounding errors of one fp32 sum would lead away from other kernels' by 2e-6 in 48 layers."""

VECTOR = 16
"""Numbers that kernels take at a time."""


@dataclass(frozen=True)
class Kind:
    """A way to compute: the type of the activations between matrices, and what makes a matrix (O, I) ready.

    `longest_sum`: products at the end of a feed-forward that sum over more are cut into several. `folds_norms`: the
    norms' weights become part of the matrices after them, which costs a bf16 matrix a second rounding.
    """

    dtype: torch.dtype
    fuse: Callable[[Tensor], FusedLinear]
    longest_sum: int | None = None
    folds_norms: bool = True


def plain_kind(dtype: torch.dtype) -> Kind:
    """How float32 or bfloat16 computes."""
    if dtype == torch.float32:
        return Kind(dtype, fuse_linear, longest_sum=LONGEST_SUM_FP32)
    return Kind(dtype, fuse_linear, folds_norms=False)


@dataclass(frozen=True)
class Packer:
    """Makes the matrices of a layer ready; with `release` the layer gives up each as soon as it is packed."""

    kind: Kind
    release: bool = False

    def norm(self, norm: RMSNorm) -> Tensor | None:
        """The learned weight of a norm (D,) in float, None where the matrices after it hold it."""
        return None if self.kind.folds_norms else norm.weight.detach().float()

    def fuse(self, *matrices: nn.Linear, norm: RMSNorm | None = None) -> FusedLinear:
        """Several matrices of one input as one, behind a norm if there is one."""
        return self.kind.fuse(self._weight_of(matrices, norm))

    def fuse_parts(self, *matrices: nn.Linear, norm: RMSNorm | None = None) -> tuple[FusedLinear, ...]:
        """As `fuse`, in parts: each makes some columns of every matrix's output, as many as `fuse_sums` takes."""
        weight_NOI = self._weight_of(matrices, norm).unflatten(0, (len(matrices), -1))
        parts = weight_NOI.split(self._part_of(weight_NOI.shape[1]), dim=1)
        return tuple(self.kind.fuse(part_NOI.flatten(0, 1)) for part_NOI in parts)

    def fuse_sums(self, matrix: nn.Linear) -> tuple[FusedLinear, ...]:
        """A matrix in parts, each for a part of the input; the results are to be added up."""
        weight_OI = self._weight_of((matrix,), None)
        return tuple(map(self.kind.fuse, weight_OI.split(self._part_of(weight_OI.shape[1]), dim=1)))

    def _part_of(self, width: int) -> int:
        """So many columns have one sum: about equal parts, in whole vectors."""
        num_sums = -(-width // (self.kind.longest_sum or width))
        return -(-width // (num_sums * VECTOR)) * VECTOR

    def _weight_of(self, matrices: Sequence[nn.Linear], norm: RMSNorm | None) -> Tensor:
        weight_OI = torch.cat([matrix.weight for matrix in matrices])
        if norm is not None and self.kind.folds_norms:
            weight_OI = weight_OI.float() * norm.weight.float()
        if self.release:
            for matrix in matrices:
                matrix.to("meta")
        return weight_OI.to(self.kind.dtype)


def pieces(num_rows: int, size: int) -> list[slice]:
    """Cut rows into pieces of that size.

    A lone last row joins the piece before: a product of one row is rounded by another kernel, and a protein would no
    longer have the same bits in any company.
    """
    starts = list(range(0, num_rows, size))
    if len(starts) > 1 and num_rows - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in pairwise([*starts, num_rows])] if starts else []
