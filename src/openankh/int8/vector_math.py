"""Arithmetic on single numbers that LLVM turns into vector instructions inside numba's loops.

numba's own `max`, conversions and `exp` hinder that: they treat undefined numbers, go through 64 bits, or call a
library one number at a time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic as _intrinsic

intrinsic: Any = _intrinsic  # what it makes of a function has other parameters than the function

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_FLAGS = {"contract", "arcp", "reassoc", "nsz"}

float32, int32, uint16 = np.float32, np.int32, np.uint16


def compiled(function: Callable[..., Any]) -> Any:
    """Compile by numba when first called, kept on disk where there is a place; runs beside other threads."""
    options = {"fastmath": _FLAGS, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it
        return njit(**options)(function)


@intrinsic
def larger(_context: Any, _x: Any, _y: Any) -> Any:
    """The larger of two floats; of an undefined and a defined one either."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        signature = ir.FunctionType(_FLOAT, [_FLOAT, _FLOAT])
        function = builder.module.declare_intrinsic("llvm.maxnum", [_FLOAT], signature)
        return builder.call(function, arguments, fastmath=("fast",))

    return types.float32(types.float32, types.float32), generate


@intrinsic
def nearest(_context: Any, _x: Any) -> Any:
    """The nearest whole number, as a float."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.rint", [_FLOAT])
        return builder.call(function, arguments)

    return types.float32(types.float32), generate


@intrinsic
def whole(_context: Any, _x: Any) -> Any:
    """A float without its fraction, as int32."""
    return types.int32(types.float32), lambda _c, builder, _s, arguments: builder.fptosi(arguments[0], _INT)


@intrinsic
def bits_of(_context: Any, _x: Any) -> Any:
    """The 32 bits of a float."""
    return types.int32(types.float32), lambda _c, builder, _s, arguments: builder.bitcast(arguments[0], _INT)


@intrinsic
def float_of(_context: Any, _bits: Any) -> Any:
    """The float of 32 bits."""
    return types.float32(types.int32), lambda _c, builder, _s, arguments: builder.bitcast(arguments[0], _FLOAT)


@compiled
def widened(bits: int) -> float:
    """The float of the 16 bits of a bfloat16."""
    return float_of(int32(bits) << int32(16))


@compiled
def narrowed(x: float) -> np.uint16:
    """The 16 bits of the nearest bfloat16."""
    bits = bits_of(x)
    return uint16((bits + int32(0x7FFF) + ((bits >> int32(16)) & int32(1))) >> int32(16))


@compiled
def within(x: float, limit: float) -> float:
    """The number from -limit to limit that is nearest to x."""
    return -larger(-larger(x, -limit), -limit)


@compiled
def power_of_two(x: float) -> float:
    """2 to the x, for x from -126 to 126, to within 3e-6 of itself."""
    exponent = nearest(x)
    f = x - exponent
    series = float32(0.0096181291) + f * float32(0.0013333558)
    series = float32(0.2402265069) + f * (float32(0.0555041087) + f * series)
    series = float32(1) + f * (float32(0.6931471806) + f * series)
    return float_of(bits_of(series) + (whole(exponent) << int32(23)))
