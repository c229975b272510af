"""From the rows of all residues to one array a protein: their mean, their maximum, or the rows themselves.

N residues of all proteins end to end, D model width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openankh.store import Pool

_POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {
    "mean": lambda rows_LD: rows_LD.float().mean(0),
    "max": lambda rows_LD: rows_LD.amax(0),
}


def pooled(rows_ND: Tensor, lengths: Sequence[int], pool: Pool) -> Tensor:
    """The rows (N, D) themselves for `residues`, else one row a protein (B, D), computed in fp32 where it adds up."""
    if pool == "residues":
        return rows_ND
    reduce = _POOLS[pool]
    return torch.stack([reduce(rows_LD) for rows_LD in rows_ND.split(list(lengths))])
