"""Numbers that are none, or too large for fp16: found before they are written, traced to protein and layer, refused."""

from collections.abc import Sequence

import torch
from torch import Tensor

from openankh.errors import UserError
from openankh.fasta import Record
from openankh.store import Dtype

_TORCH_TYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def overflowed(layers_ND: Sequence[Tensor], lengths: Sequence[int]) -> list[int]:
    """Which proteins have a number that is infinite or undefined, in any layer."""
    are_finite_N = torch.stack([torch.isfinite(rows_ND).all(-1) for rows_ND in layers_ND]).all(0)
    if are_finite_N.all():
        return []
    return [number for number, are_N in enumerate(are_finite_N.split(list(lengths))) if not are_N.all()]


def rounded(values: Tensor, dtype: Dtype, records: Sequence[Record], layers: Sequence[int]) -> Tensor:
    """The values (K, B or N, D) in another type.

    Raises UserError naming the first protein and layer whose numbers are not finite, or do not fit: an fp16 clipped at
    65,504 would look like a measurement.
    """
    narrow = values.to(_TORCH_TYPES[dtype])
    if torch.isfinite(narrow).all():
        return narrow
    for layer, rows, narrow_rows in zip(layers, values, narrow, strict=True):
        bad = (~torch.isfinite(narrow_rows)).any(-1).nonzero()
        if len(bad):
            record = _owner(int(bad[0]), len(rows), records)
            raise UserError(f"record {record.id!r} (line {record.line}): {_what_is_wrong(rows, layer)}")
    raise AssertionError("a number that is not finite has a place")


def _owner(row: int, num_rows: int, records: Sequence[Record]) -> Record:
    """The record of a row, which is its own or that of one of its residues."""
    if num_rows == len(records):
        return records[row]
    for record in records:
        row -= len(record.sequence)
        if row < 0:
            return record
    raise AssertionError("more rows than residues")


def _what_is_wrong(rows: Tensor, layer: int) -> str:
    if not torch.isfinite(rows).all():
        return f"the model's numbers are not finite in layer {layer}; check the model with openankh info"
    largest = float(rows.float().abs().max())
    return (
        f"layer {layer} reaches {largest:,.0f}, and fp16 ends at 65,504; give the output the dtype bf16 or fp32, "
        "which hold it"
    )
