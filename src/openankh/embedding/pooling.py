"""From the states of all residues to one array a protein: their mean, their maximum, or the rows themselves.

N residues of all proteins end to end, B proteins, D model width, K layers.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openankh.store import Pool

_POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {
    "mean": lambda rows_LD: rows_LD.float().mean(0),
    "max": lambda rows_LD: rows_LD.amax(0),
}


def pooled(layers_ND: Sequence[Tensor], lengths: Sequence[int], pool: Pool) -> Tensor:
    """The rows of all layers (K, N, D) for `residues`, else one row a layer and protein (K, B, D).

    Computed in fp32 where it adds up.
    """
    if pool == "residues":
        return layers_ND[0][None] if len(layers_ND) == 1 else torch.stack(list(layers_ND))
    reduce = _POOLS[pool]
    return torch.stack(
        [torch.stack([reduce(rows_LD) for rows_LD in rows_ND.split(list(lengths))]) for rows_ND in layers_ND]
    )
