"""The three number types of stored embeddings, and bf16, which numpy lacks, as bits.

Arrays travel as float32 (fp32, and bf16 widened without loss) or float16.
"""

import numpy as np
from numpy.typing import NDArray

from openankh.store.provenance import Dtype

SAFETENSORS_NAMES: dict[Dtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_STORED: dict[Dtype, type[np.generic]] = {"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}


def itemsize(dtype: Dtype) -> int:
    """Bytes of one number in the native store."""
    return np.dtype(_STORED[dtype]).itemsize


def exported_type(dtype: Dtype) -> np.dtype:
    """The numpy type in formats that know no bf16: bf16 goes out as float32, which loses nothing."""
    return np.dtype(np.float16 if dtype == "fp16" else np.float32)


def stored_type(dtype: Dtype) -> np.dtype:
    """The little-endian numpy type whose bytes the native store holds; the bits of a bf16 are an unsigned integer."""
    return np.dtype(_STORED[dtype]).newbyteorder("<")


def to_stored(values: NDArray[np.floating], dtype: Dtype) -> NDArray:
    """The values as the native store holds them; bf16 is rounded to the nearest, ties to even."""
    if dtype != "bf16":
        return values.astype(stored_type(dtype), copy=False)
    bits = values.astype(np.float32, copy=False).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(stored_type(dtype))


def from_stored(stored: NDArray, dtype: Dtype) -> NDArray[np.floating]:
    """Values to compute with: a view of what is stored, or for bf16 a float32 copy."""
    if dtype != "bf16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)
