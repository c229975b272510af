"""A file's bytes as read-only memory that keeps no file open, so that thousands of shards can be mapped at once."""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError

_FAILED = ctypes.c_void_p(-1).value


class _Mapped:
    """The memory of one mapping, given back when nothing refers to it any more."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        address = _map(path, num_bytes)
        self.__array_interface__: dict[str, Any] = {
            "shape": (num_bytes,),
            "typestr": "|u1",
            "data": (address, True),
            "version": 3,
        }
        weakref.finalize(self, _libc.munmap, address, num_bytes).atexit = False


def mapped_bytes(path: Path) -> NDArray[np.uint8]:
    """All bytes (N,) of a file, mapped and read-only; Python's own mmap would hold a descriptor for each."""
    num_bytes = path.stat().st_size
    return np.asarray(_Mapped(path, num_bytes)) if num_bytes else np.zeros(0, np.uint8)


def _map(path: Path, num_bytes: int) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = _libc.mmap(None, num_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == _FAILED:
        reason = os.strerror(ctypes.get_errno()).lower()
        raise UserError(f"{path}: cannot be mapped ({reason}); close other stores, or allow the process more memory")
    return address


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_longlong,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
