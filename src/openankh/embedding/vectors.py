"""One batch of proteins as arrays of numbers: computed, guarded against fp16's range, pooled, rounded.

N residues of the batch, B proteins, D model width, K layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.embedding.finite import overflowed, rounded
from openankh.embedding.pooling import pooled
from openankh.embedding.residue_states import ResidueStates
from openankh.fasta import Record
from openankh.store import Dtype, Pool


@dataclass(eq=False)
class Vectors:
    """What makes the arrays of a batch.

    Where `guards_fp16`, proteins whose states overflow in it are computed again in fp32; `num_overflowed` counts them.
    """

    states: ResidueStates
    pool: Pool
    dtype: Dtype
    guards_fp16: bool
    num_overflowed: int = field(default=0, init=False)

    @torch.inference_mode()
    def of(self, records: Sequence[Record], piece: int | None = None) -> list[NDArray[np.floating]]:
        """One array a protein, as `Embedder.batches` describes them; `piece` as in `ResidueStates.of`.

        Raises UserError as `Embedder.batches` does.
        """
        layers_ND = self.states.of(records, piece=piece)
        lengths = [len(record.sequence) for record in records]
        spoilt = overflowed(layers_ND, lengths) if self.guards_fp16 else []
        if spoilt:
            layers_ND = self._repaired(layers_ND, records, spoilt, piece)
        values = rounded(pooled(layers_ND, lengths, self.pool), self.dtype, records, self.states.layers).cpu()
        return self._cut(values.float().numpy() if self.dtype == "bf16" else values.numpy(), lengths)

    def _repaired(
        self, layers_ND: list[Tensor], records: Sequence[Record], spoilt: Sequence[int], piece: int | None
    ) -> list[Tensor]:
        """All rows in fp32, those of the spoilt proteins computed again."""
        again = self.states.of([records[number] for number in spoilt], torch.float32, piece)
        self.num_overflowed += len(spoilt)
        is_spoilt_B = torch.zeros(len(records), dtype=torch.bool)
        is_spoilt_B[list(spoilt)] = True
        lengths_B = torch.tensor([len(record.sequence) for record in records])
        is_spoilt_N = is_spoilt_B.repeat_interleave(lengths_B).to(layers_ND[0].device)
        repaired = [rows_ND.float() for rows_ND in layers_ND]
        for rows_ND, right_ND in zip(repaired, again, strict=True):
            rows_ND[is_spoilt_N] = right_ND
        return repaired

    def _cut(self, numbers: NDArray[np.floating], lengths: Sequence[int]) -> list[NDArray[np.floating]]:
        """From (K, N or B, D) to one array a protein; one layer has no axis of its own."""
        ends = np.cumsum(lengths if self.pool == "residues" else [1] * len(lengths))[:-1]
        if len(numbers) == 1:
            return list(numbers[0]) if self.pool != "residues" else np.split(numbers[0], ends)
        parts = np.split(numbers, ends, axis=1)
        return [np.ascontiguousarray(part if self.pool == "residues" else part[:, 0]) for part in parts]
