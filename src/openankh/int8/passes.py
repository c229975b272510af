"""The passes over activations between 8-bit products, each compiled into one loop.

A row becomes 8-bit codes around 128: code = 128 + x / unit, the unit of the row being its largest number over 127.
Numbers beyond `OUTLIER` root mean squares of their row are taken out first, so that they do not coarsen the unit of the
others, and are kept with the columns they come from. Arrays of uint16 hold bfloat16.

T tokens, I inputs and O outputs of a product, C outliers a row at most, D model width, F feed-forward width, H heads,
K head width, L keys, R queries of a tile.
"""

import math

import numpy as np
from numpy.typing import NDArray

from openankh.int8.vector_math import (
    bits_of,
    compiled,
    float32,
    int32,
    larger,
    narrowed,
    power_of_two,
    uint16,
    whole,
    widened,
    within,
)

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]
Codes = NDArray[np.uint8]
Columns = NDArray[np.int32]

OUTLIER = 8.0
"""Of Gaussian numbers none is that large; in the trained models some hundreds of a layer's hidden numbers are."""

_TINY = 1e-30
_STRETCH = 64
_LOG2_E = math.log2(math.e)


def num_outliers(width: int) -> int:
    """How many numbers of a row can be beyond `OUTLIER` root mean squares of it."""
    return int(width / OUTLIER**2) + 1


@compiled
def encode_row(row_I: Floats, codes_I: Codes, columns_C: Columns, values_C: Floats) -> tuple[np.float32, int]:
    """The unit of a row and the number of its outliers, which leave the row and are given in this unit."""
    width = row_I.shape[0]
    peak, total = float32(_TINY), float32(0)
    for i in range(width):
        peak = larger(peak, abs(row_I[i]))
        total += row_I[i] * row_I[i]
    num = 0
    limit = float32(OUTLIER) * math.sqrt(total / float32(width))
    if peak > limit:
        num = take_out(row_I, limit, columns_C, values_C)
        peak = float32(_TINY)
        for i in range(width):
            peak = larger(peak, abs(row_I[i]))
    rate = float32(127) / peak
    for i in range(width):
        codes_I[i] = np.uint8(whole(row_I[i] * rate + float32(128.5)))
    for n in range(num):
        values_C[n] *= rate
    return peak / float32(127), num


@compiled
def take_out(row_I: Floats, limit: float, columns_C: Columns, values_C: Floats) -> int:
    """Move numbers beyond the limit out of a row; a stretch without any is passed over at once."""
    num = 0
    for start in range(0, row_I.shape[0], _STRETCH):
        stretch = row_I[start : start + _STRETCH]
        peak = float32(0)
        for i in range(stretch.shape[0]):
            peak = larger(peak, abs(stretch[i]))
        if peak > limit:
            for i in range(stretch.shape[0]):
                if abs(stretch[i]) > limit:
                    columns_C[num], values_C[num] = start + i, stretch[i]
                    stretch[i] = float32(0)
                    num += 1
    return num


@compiled
def encode_rows(
    x_TI: Floats, codes_TI: Codes, units_T: Floats, nums_T: Columns, columns_TC: Columns, values_TC: Floats
) -> None:
    """Encode rows as they are."""
    row_I = np.empty(x_TI.shape[1], np.float32)
    for t in range(x_TI.shape[0]):
        x_I = x_TI[t]
        for i in range(x_I.shape[0]):
            row_I[i] = x_I[i]
        units_T[t], nums_T[t] = encode_row(row_I, codes_TI[t], columns_TC[t], values_TC[t])


@compiled
def encode_normal_rows(
    x_TD: Floats,
    weight_D: Floats,
    eps: float,
    codes_TD: Codes,
    units_T: Floats,
    nums_T: Columns,
    columns_TC: Columns,
    values_TC: Floats,
) -> None:
    """Encode rows scaled to unit mean square and then by a weight."""
    row_D = np.empty(x_TD.shape[1], np.float32)
    for t in range(x_TD.shape[0]):
        x_D = x_TD[t]
        total = float32(0)
        for i in range(x_D.shape[0]):
            total += x_D[i] * x_D[i]
            row_D[i] = x_D[i] * weight_D[i]
        unit, nums_T[t] = encode_row(row_D, codes_TD[t], columns_TC[t], values_TC[t])
        units_T[t] = unit / math.sqrt(total / float32(x_D.shape[0]) + eps)


@compiled
def encode_hidden_rows(
    gate_TF: Halves,
    up_TF: Halves,
    gate_units_T: Floats,
    up_units_T: Floats,
    slope: float,
    curve: float,
    codes_TF: Codes,
    units_T: Floats,
    nums_T: Columns,
    columns_TC: Columns,
    values_TC: Floats,
) -> None:
    """Encode activation(gate) * up, where activation(x) = x sigmoid(x (slope + curve x^2))."""
    row_F = np.empty(gate_TF.shape[1], np.float32)
    for t in range(gate_TF.shape[0]):
        gate_F, up_F = gate_TF[t], up_TF[t]
        unit = gate_units_T[t]
        linear, cubic = float32(-_LOG2_E) * slope * unit, float32(-_LOG2_E) * curve * unit * unit * unit
        for i in range(gate_F.shape[0]):
            x = widened(gate_F[i])
            power = within(x * (linear + cubic * x * x), float32(126))
            row_F[i] = x * widened(up_F[i]) / (float32(1) + power_of_two(power))
        own, nums_T[t] = encode_row(row_F, codes_TF[t], columns_TC[t], values_TC[t])
        units_T[t] = own * unit * up_units_T[t]


@compiled
def add_outliers(
    y_TO: Halves, nums_T: Columns, columns_TC: Columns, values_TC: Floats, weight_IO: NDArray[np.int8], units_O: Floats
) -> None:
    """Add what a product lacks: the outliers of each row times their columns of the weight."""
    sum_O = np.empty(y_TO.shape[1], np.float32)
    for t in range(y_TO.shape[0]):
        if nums_T[t] == 0:
            continue
        sum_O[:] = float32(0)
        for n in range(nums_T[t]):
            weight_O, value = weight_IO[columns_TC[t, n]], values_TC[t, n]
            for o in range(sum_O.shape[0]):
                sum_O[o] += value * float32(weight_O[o])
        y_O = y_TO[t]
        for o in range(sum_O.shape[0]):
            y_O[o] = narrowed(widened(y_O[o]) + sum_O[o] * units_O[o])


@compiled
def add_rows(x_TD: Floats, y_TD: Halves, units_T: Floats) -> None:
    """Add y, times the unit of each row, to x."""
    for t in range(x_TD.shape[0]):
        x_D, y_D, unit = x_TD[t], y_TD[t], units_T[t]
        for i in range(x_D.shape[0]):
            x_D[i] += widened(y_D[i]) * unit


@compiled
def split_heads(
    qkv_RX: Halves,
    units_R: Floats,
    start: int,
    q_HTK: NDArray[np.int8],
    q_units_HT: Floats,
    k_HTK: Halves,
    v_HTK: Halves,
) -> None:
    """Lay queries (as codes around 0), keys and values of the rows from `start` out by head."""
    num_heads, _, width = q_HTK.shape
    for r in range(qkv_RX.shape[0]):
        unit = units_R[r]
        for h in range(num_heads):
            q_K = qkv_RX[r, h * width : (h + 1) * width]
            k_K = qkv_RX[r, (num_heads + h) * width : (num_heads + h + 1) * width]
            v_K = qkv_RX[r, (2 * num_heads + h) * width : (2 * num_heads + h + 1) * width]
            q_out_K, k_out_K, v_out_K = q_HTK[h, start + r], k_HTK[h, start + r], v_HTK[h, start + r]
            peak = float32(_TINY)
            for c in range(width):
                peak = larger(peak, abs(widened(q_K[c])))
            rate = float32(127) / peak
            for c in range(width):
                q_out_K[c] = np.int8(whole(widened(q_K[c]) * rate + float32(128.5)) - int32(128))
                k_out_K[c] = narrowed(widened(k_K[c]) * unit)
                v_out_K[c] = narrowed(widened(v_K[c]) * unit)
            q_units_HT[h, start + r] = peak * unit * float32(_LOG2_E / 127)


@compiled
def encode_keys(k_LK: Halves, codes_LK: NDArray[np.int8], units_L: Floats) -> None:
    """Keys as codes around 0, less their mean: that shifts all scores of a query alike, which its softmax ignores."""
    length, width = k_LK.shape
    mean_K, row_K = np.zeros(width, np.float32), np.empty(width, np.float32)
    for j in range(length):
        k_K = k_LK[j]
        for c in range(width):
            mean_K[c] += widened(k_K[c])
    for c in range(width):
        mean_K[c] /= float32(length)
    for j in range(length):
        k_K, codes_K = k_LK[j], codes_LK[j]
        peak = float32(_TINY)
        for c in range(width):
            row_K[c] = widened(k_K[c]) - mean_K[c]
            peak = larger(peak, abs(row_K[c]))
        rate = float32(127) / peak
        for c in range(width):
            codes_K[c] = np.int8(whole(row_K[c] * rate + float32(128.5)) - int32(128))
        units_L[j] = peak / float32(127)


@compiled
def exponentials(
    products_RL: NDArray[np.int32],
    q_units_R: Floats,
    k_units_L: Floats,
    bias_X: Floats,
    first: int,
    weights_RL: Halves,
    sums_R: Floats,
) -> None:
    """2^(score - largest score of the row), and their sums; scores are products * units + bias_X[first - r + l]."""
    length = products_RL.shape[1]
    for r in range(products_RL.shape[0]):
        products_L, weights_L = products_RL[r], weights_RL[r]
        bias_L, unit = bias_X[first - r : first - r + length], q_units_R[r]
        peak = float32(-3e38)
        for j in range(length):
            peak = larger(peak, float32(products_L[j]) * (unit * k_units_L[j]) + bias_L[j])
        total = float32(0)
        for j in range(length):
            x = float32(products_L[j]) * (unit * k_units_L[j]) + bias_L[j] - peak
            x = power_of_two(larger(x, float32(-126)))
            total += x
            weights_L[j] = uint16((bits_of(x) + int32(0x8000)) >> int32(16))
        sums_R[r] = total


@compiled
def join_heads(mixed_GRK: Halves, sums_GR: Floats, start: int, first_head: int, out_TI: Floats) -> None:
    """Divide what some heads made of the rows from `start` by their sums, into their columns of those rows."""
    num_heads, num_rows, width = mixed_GRK.shape
    for r in range(num_rows):
        for g in range(num_heads):
            column = (first_head + g) * width
            mixed_K, out_K = mixed_GRK[g, r], out_TI[start + r, column : column + width]
            rate = float32(1) / sums_GR[g, r]
            for c in range(width):
                out_K[c] = widened(mixed_K[c]) * rate
