"""Writing named tensors as a safetensors file, hashed on the way from memory to the disk."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(tensors: Mapping[str, Tensor], file: BinaryIO) -> str:
    """Write contiguous CPU tensors to an open file, one after the other; the SHA-256 of the bytes that were meant.

    The hash is of what memory held, not of what the disk took, so a fault of the disk shows when the file is read.
    `safetensors.torch.save` would need a second copy of everything.
    """
    digest = hashlib.sha256()
    ordered = _ordered(tensors)
    for block in (_header(ordered), *(_bytes_of(tensor) for tensor in ordered.values())):
        file.write(block)
        digest.update(block)
    return digest.hexdigest()


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """How many bytes `write_tensors` writes."""
    return len(_header(_ordered(tensors))) + sum(tensor.nbytes for tensor in tensors.values())


def _ordered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Wide numbers first, so that every tensor begins at a multiple of its numbers' width."""
    return dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: Tensor) -> memoryview:
    assert tensor.is_contiguous() and tensor.device.type == "cpu", "only a contiguous tensor on the CPU is written"
    return tensor.detach().flatten().view(torch.uint8).numpy().data
