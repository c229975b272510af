"""Kernels in C for inference on processors with AVX-512: attention, norms and gates, which torch has in pieces only.

They are compiled when they are first needed, where there is a compiler (see `compilation`); `kernels()` is None
elsewhere, and all else stands on torch. Numbers are float or bf16, sums always float.

T packed tokens, I inner width of all heads, H heads, R distances, D any width.
"""

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import gelu, pad, rms_norm

from openankh.config import Activation, ModelConfig
from openankh.native.compilation import compiled_library

MARGIN = 64
"""Distances beyond the last that the kernel may read."""

BF16_FLAG = "-mavx512bf16"
_UNITS = ("f", "bw", "dq", "vl")
_WIDEST_HEAD = 256
_ACTIVATIONS: dict[Activation, int] = {"gelu": 0, "silu": 1, "relu": 2}
_POINTER, _LONG, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float


@dataclass(frozen=True)
class HeadRows:
    """A piece of attention: some queries of some heads of one protein, whose tokens are rows `start` to `end`."""

    start: int
    end: int
    first_head: int
    end_head: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Kernels:
    """The compiled library; tensors are contiguous and on the CPU."""

    library: ctypes.CDLL
    has_bf16: bool

    def serves(self, config: ModelConfig, dtype: torch.dtype) -> bool:
        """Whether these widths and numbers are among those the kernels were written for."""
        widths = (config.d_model, config.d_kv, config.d_ff)
        known = dtype == torch.float32 or (dtype == torch.bfloat16 and self.has_bf16)
        return known and all(width % 16 == 0 for width in widths) and config.d_kv <= _WIDEST_HEAD

    def attend(self, qkv_TI: Tensor, bias_HR: Tensor, piece: HeadRows, out_TI: Tensor) -> None:
        """Fill a piece of `out_TI` with unscaled softmax attention; `bias_HR` as `ascending` gives it."""
        inner, (num_heads, num_distances) = out_TI.shape[1], bias_HR.shape
        width, size = inner // num_heads, qkv_TI.element_size()
        q = qkv_TI.data_ptr() + (piece.start * 3 * inner + piece.first_head * width) * size
        out = out_TI.data_ptr() + (piece.start * inner + piece.first_head * width) * size
        zero = piece.first_head * num_distances + (num_distances - MARGIN) // 2
        failed = self.library.openankh_attend(
            *(q, q + inner * size, q + 2 * inner * size, 3 * inner),
            *(out, inner),
            *(bias_HR.data_ptr() + 4 * zero, num_distances),
            *(piece.end - piece.start, piece.end_head - piece.first_head, width, piece.first, piece.last),
            _is_bf16(qkv_TI),
        )
        if failed:
            raise MemoryError(f"out of memory: attention of {piece.end - piece.start:,} tokens")

    def add(self, x_TD: Tensor, y_TD: Tensor, out_TD: Tensor) -> None:
        """out = x + y, of which only y may be bf16; out may be x."""
        self._normalise(x_TD, y_TD, out_TD, None, None, 0.0)

    def add_and_normalise(
        self, x_TD: Tensor, y_TD: Tensor, out_TD: Tensor, scale_D: Tensor | None, eps: float
    ) -> Tensor:
        """out = x + y; returns out at unit mean square, times a scale if there is one, in the dtype of y."""
        normal_TD = torch.empty_like(y_TD)
        self._normalise(x_TD, y_TD, out_TD, normal_TD, scale_D, eps)
        return normal_TD

    def normalise(self, x_TD: Tensor, dtype: torch.dtype, scale_D: Tensor | None, eps: float) -> Tensor:
        """x at unit mean square, times a scale if there is one."""
        normal_TD = torch.empty_like(x_TD, dtype=dtype)
        self._normalise(x_TD, None, None, normal_TD, scale_D, eps)
        return normal_TD

    def activate(self, x_TD: Tensor, activation: Activation, gated: bool) -> Tensor:
        """activation(x), or of gated x (T, 2 D) its activated first half times its second."""
        out_TD = x_TD.new_empty(len(x_TD), x_TD.shape[1] // (2 if gated else 1))
        self.library.openankh_activate(
            *(x_TD.data_ptr(), out_TD.data_ptr(), *out_TD.shape),
            *(gated, _ACTIVATIONS[activation], _is_bf16(x_TD)),
        )
        return out_TD

    def _normalise(
        self, x: Tensor, y: Tensor | None, total: Tensor | None, normal: Tensor | None, scale: Tensor | None, eps: float
    ) -> None:
        numbers = normal if normal is not None else y
        assert numbers is not None and x.dtype == torch.float32
        addresses = [None if each is None else each.data_ptr() for each in (x, y, total, normal, scale)]
        self.library.openankh_normalise(*addresses, *x.shape, eps, _is_bf16(numbers))


def ascending(bias_HR: Tensor) -> Tensor:
    """A bias ordered by descending distance in float, ascending, with room for what the kernel reads beyond."""
    return pad(bias_HR.float().flip(1), (0, MARGIN))


@cache
def kernels() -> Kernels | None:
    """The kernels for this processor; None where they cannot be compiled, err, or OPENANKH_COMPILE=0 is set."""
    flags = processor_flags()
    path = compiled_library(flags) if flags and os.environ.get("OPENANKH_COMPILE") != "0" else None
    if path is None:
        return None
    try:
        found = Kernels(_declared(ctypes.CDLL(str(path))), BF16_FLAG in flags)
    except (OSError, AttributeError):
        return None
    return found if _is_right(found) else None


def processor_flags() -> list[str]:
    """What a compiler is told of this processor; empty for one without AVX-512."""
    if sys.platform == "win32" or not hasattr(torch.cpu, "get_capabilities"):
        return []
    has = torch.cpu.get_capabilities()
    units = [unit for unit in (*_UNITS, "bf16") if has.get(f"avx512_{unit}", False)]
    return ["-mfma", *(f"-mavx512{unit}" for unit in units)] if set(_UNITS) <= set(units) else []


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    attend = [*[_POINTER] * 3, _LONG, _POINTER, _LONG, _POINTER, *[_LONG] * 6, _INT]
    library.openankh_attend.argtypes, library.openankh_attend.restype = attend, _INT
    library.openankh_normalise.argtypes = [*[_POINTER] * 5, _LONG, _LONG, _FLOAT, _INT]
    library.openankh_activate.argtypes = [_POINTER, _POINTER, _LONG, _LONG, _INT, _INT, _INT]
    library.openankh_normalise.restype = library.openankh_activate.restype = None
    return library


def _is_bf16(x: Tensor) -> bool:
    assert x.is_contiguous()
    return x.dtype == torch.bfloat16


def _is_right(found: Kernels) -> bool:
    """Try each kernel on a little of everything, beside torch."""
    dtypes = [torch.float32, *([torch.bfloat16] if found.has_bf16 else [])]
    return all(_is_right_in(found, dtype) for dtype in dtypes)


def _is_right_in(found: Kernels, dtype: torch.dtype) -> bool:
    x_TI = torch.arange(5 * 96.0).remainder(7).sub(3).div(4).reshape(5, 96)
    y_TI, bias_HR, out_TI = x_TI.to(dtype), torch.arange(18.0).sin().reshape(2, 9), torch.empty(5, 32, dtype=dtype)
    found.attend(y_TI, ascending(bias_HR.flip(1)), HeadRows(0, 5, 0, 2, 0, 5), out_TI)
    q_HTK, k_HTK, v_HTK = y_TI.float().reshape(5, 3, 2, 16).permute(1, 2, 0, 3)
    distance = torch.arange(5)[None] - torch.arange(5)[:, None]
    weights_HTT = torch.softmax(q_HTK @ k_HTK.transpose(1, 2) + bias_HR[:, distance + 4], -1)
    total_TI, scale_I = torch.empty_like(x_TI), torch.arange(96.0).cos()
    normal_TI = found.add_and_normalise(x_TI, y_TI, total_TI, scale_I, 1e-6)
    pairs = [
        (out_TI, (weights_HTT @ v_HTK).transpose(0, 1).flatten(1)),
        (total_TI, x_TI + y_TI),
        (normal_TI, rms_norm(x_TI + y_TI, (96,), scale_I, eps=1e-6)),
        (found.activate(y_TI, "gelu", gated=True), gelu(x_TI[:, :48], approximate="tanh") * x_TI[:, 48:]),
    ]
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    return all(torch.allclose(ours.float(), theirs, rtol=limit, atol=limit) for ours, theirs in pairs)
