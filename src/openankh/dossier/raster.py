"""A picture of coloured cells as PNG bytes, by the standard library alone. H rows, W columns."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png(rgb_HW3: NDArray[np.uint8]) -> bytes:
    """Eight bits a colour, one cell a pixel."""
    height, width, _ = rgb_HW3.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter, 0: none
    lines[:, 1:] = rgb_HW3.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
