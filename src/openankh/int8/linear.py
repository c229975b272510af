"""A product with a weight of 8-bit numbers: one unit an output of the weight, one a row of the activations.

T tokens, I inputs, O outputs, C outliers a row at most, D model width, F feed-forward width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.int8 import passes


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Activations as 8-bit codes around 128 in units of their row, and the outliers taken out of them."""

    codes_TI: Tensor
    units_T: NDArray[np.float32]
    nums_T: NDArray[np.int32]
    columns_TC: NDArray[np.int32]
    values_TC: NDArray[np.float32]

    @classmethod
    def unwritten(cls, num_rows: int, width: int) -> "EncodedRows":
        """Room for so many rows."""
        num_outliers = passes.num_outliers(width)
        return cls(
            torch.empty(num_rows, width, dtype=torch.uint8),
            np.empty(num_rows, np.float32),
            np.empty(num_rows, np.int32),
            np.empty((num_rows, num_outliers), np.int32),
            np.empty((num_rows, num_outliers), np.float32),
        )

    @property
    def parts(
        self,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """What the passes write: codes, units, and of the outliers numbers, columns and values."""
        return self.codes_TI.numpy(), self.units_T, self.nums_T, self.columns_TC, self.values_TC


def encoded(x_TI: NDArray[np.float32]) -> EncodedRows:
    """Rows as they are."""
    rows = EncodedRows.unwritten(*x_TI.shape)
    passes.encode_rows(x_TI, *rows.parts)
    return rows


def encoded_normal(x_TD: NDArray[np.float32], weight_D: NDArray[np.float32], eps: float) -> EncodedRows:
    """Rows scaled to unit mean square, then by a weight."""
    rows = EncodedRows.unwritten(*x_TD.shape)
    passes.encode_normal_rows(x_TD, weight_D, np.float32(eps), *rows.parts)
    return rows


class Int8Linear:
    """The weight in oneDNN's layout, and by input for the outliers; two bytes a number."""

    def __init__(self, weight_OI: Tensor) -> None:
        weight_OI = weight_OI.detach().float()
        units_O1 = weight_OI.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
        codes_OI = torch.round(weight_OI / units_O1).to(torch.int8)
        self._units_O = units_O1.flatten().contiguous()
        self._zeros_O = torch.zeros(len(codes_OI), dtype=torch.int64)
        self._packed = torch.ops.onednn.qlinear_prepack(codes_OI, None)
        self._codes_IO = codes_OI.t().contiguous().numpy()

    def __call__(self, rows: EncodedRows) -> NDArray[np.uint16]:
        """x W (T, O) as the bits of bfloat16, still to be multiplied by the unit of each row."""
        y_TO = torch.ops.onednn.qlinear_pointwise(
            rows.codes_TI,
            1.0,
            128,
            self._packed,
            self._units_O,
            self._zeros_O,
            None,
            1.0,
            0,
            torch.bfloat16,
            "none",
            [],
            "",
        )
        bits_TO = y_TO.view(torch.uint16).numpy()
        if rows.nums_T.any():
            _, _, nums_T, columns_TC, values_TC = rows.parts
            passes.add_outliers(bits_TO, nums_T, columns_TC, values_TC, self._codes_IO, self._units_O.numpy())
        return bits_TO
