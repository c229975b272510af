"""Attention to kept keys and values as the C kernel computes it: decoding's, a few queries of each protein at a time.

R rows of queries, I inner width of all heads, H heads, G groups of rows that read the same kept keys.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.native import Kernels

GROUP = np.dtype([(name, np.int64) for name in ("first", "num", "keys", "values", "table", "table_stride", "each")])
"""Rows `first` to `first + num` of the queries, the addresses of their kept keys and values, and which of these each
row reads: row j those in row j // each of an int32 table, or where its address is 0 those from 0 on."""

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int


@dataclass(frozen=True, eq=False)
class Kept:
    """What each row of queries attends to: `counts` (R,) kept rows, which lie `stride` numbers apart.

    `targets` (R,) are the places at which the keys and values that follow each query in its row are kept first.
    """

    groups: NDArray[np.void]
    counts: NDArray[np.int32]
    stride: int
    targets: NDArray[np.int32] | None = None


@dataclass(frozen=True, eq=False)
class KeptAttention:
    """The kernel; tensors are contiguous and on the CPU."""

    library: ctypes.CDLL
    num_heads: int

    def attend(self, q_RI: Tensor, kept: Kept, bias_HR: Tensor | None, out_RI: Tensor) -> None:
        """Fill `out_RI` with unscaled softmax attention; the bias of a row's last key stands last in `bias_HR`.

        Rows of no group stay as they are.
        """
        groups, longest = kept.groups, int(kept.counts.max())
        assert q_RI.is_contiguous() and out_RI.is_contiguous() and groups.flags.c_contiguous
        assert bias_HR is None or bias_HR.shape[1] >= longest
        failed = self.library.openankh_attend_kept(
            *(q_RI.data_ptr(), q_RI.shape[1], out_RI.data_ptr(), out_RI.shape[1]),
            *(groups.ctypes.data, len(groups), kept.stride, kept.counts.ctypes.data),
            None if kept.targets is None else kept.targets.ctypes.data,
            *((None, 0) if bias_HR is None else (bias_HR.data_ptr(), bias_HR.shape[1])),
            *(self.num_heads, out_RI.shape[1] // self.num_heads, longest, q_RI.dtype == torch.bfloat16),
        )
        if failed:
            raise MemoryError(f"out of memory: attention to {longest:,} tokens")


def kept_attention(kernels: Kernels, num_heads: int) -> KeptAttention | None:
    """The kernel for so many heads; None where it is not right."""
    return KeptAttention(kernels.library, num_heads) if _is_there(kernels) else None


@cache
def _is_there(kernels: Kernels) -> bool:
    try:
        attend = kernels.library.openankh_attend_kept
    except AttributeError:
        return False
    pair, rest = [_POINTER, _LONG], [_LONG, _POINTER, _POINTER, _POINTER, *[_LONG] * 4, _INT]
    attend.argtypes, attend.restype = [*pair * 3, *rest], _INT
    dtypes = [torch.float32, *([torch.bfloat16] if kernels.has_bf16 else [])]
    return all(_is_right_in(KeptAttention(kernels.library, 2), dtype) for dtype in dtypes)


def _is_right_in(kernel: KeptAttention, dtype: torch.dtype) -> bool:
    """Try two queries of one protein, each of which keeps a key and reads every second one, beside torch."""
    qkv_RI = torch.arange(2 * 96.0).remainder(7).sub(3).div(4).reshape(2, 96).to(dtype)
    keys_SI, values_SI = (torch.arange(12 * 32.0).mul(n).sin().reshape(12, 32).to(dtype) for n in (1, 2))
    out_RI, bias_HR = torch.empty(2, 32, dtype=dtype), torch.arange(16.0).cos().reshape(2, 8)
    table = np.array([[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]], np.int32)
    group = np.array([(0, 2, keys_SI.data_ptr(), values_SI.data_ptr(), table.ctypes.data, 5, 1)], GROUP)
    kept = Kept(group, np.array([5, 4], np.int32), 32, np.array([8, 7], np.int32))
    kernel.attend(qkv_RI, kept, bias_HR, out_RI)
    if not torch.equal(keys_SI[[8, 7]], qkv_RI[:, 32:64]) or not torch.equal(values_SI[[8, 7]], qkv_RI[:, 64:]):
        return False
    expected = []
    for row, count in enumerate((5, 4)):
        k_HTK, v_HTK = (kept_SI[table[row, :count]].float().view(count, 2, 16) for kept_SI in (keys_SI, values_SI))
        scores_HT = torch.einsum("hk,thk->ht", qkv_RI[row, :32].float().view(2, 16), k_HTK) + bias_HR[:, 8 - count :]
        expected.append(torch.einsum("ht,thk->hk", scores_HT.softmax(-1), v_HTK).flatten())
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    return torch.allclose(out_RI.float(), torch.stack(expected), rtol=limit, atol=limit)
