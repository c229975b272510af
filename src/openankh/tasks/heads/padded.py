"""Proteins of different length in one tensor, and what keeps padding out of every result.

B proteins, L residues of the longest, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (B, L, D) of proteins (L, D) each, zeros behind the shorter ones, and which residues are real (B, L)."""
    x_BLD = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths_B = torch.tensor([len(each) for each in rows], device=x_BLD.device)
    return x_BLD, torch.arange(x_BLD.shape[1], device=x_BLD.device) < lengths_B[:, None]


def zero_padding(x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
    """The rows with zeros where there is no residue, whatever stood there: what lies outside a protein."""
    return x_BLD.masked_fill(~is_real_BL[..., None], 0)


def max_pool(x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
    """The maximum of each number over real residues (B, D)."""
    return x_BLD.masked_fill(~is_real_BL[..., None], float("-inf")).amax(dim=1)


def mean_pool(x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
    """The mean of each number over real residues (B, D)."""
    return zero_padding(x_BLD, is_real_BL).sum(dim=1) / is_real_BL.sum(dim=1, keepdim=True)
