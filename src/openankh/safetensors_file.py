"""One safetensors file: its header checked before anything is believed, its tensors read one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openankh.errors import UserError
from openankh.json_file import parse_json_object, require_plain_file

MAX_HEADER_BYTES = 4 << 20
"""Thirty times what the largest Ankh needs; the 100 MB that the format allows would fill the memory when parsed."""

FLOAT_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class TensorEntry:
    """What a file says of one tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """The product of the shape."""
        return prod(self.shape)


class SafetensorsFile:
    """An open safetensors file of floating point tensors.

    Raises UserError naming the file, and the tensor where there is one, for a header that is too large, malformed or
    does not describe the bytes behind it exactly.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, TensorEntry] = read_header(path)
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a safetensors file ({error}); fetch it again") from None

    def read(self, name: str) -> Tensor:
        """The tensor, on the CPU; it may share the file's memory until it is copied."""
        tensor = self._file.get_tensor(name)
        entry = self.entries[name]
        assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape), f"two readings of {name} differ"
        return tensor

    def close(self) -> None:
        """Let go of the file."""
        del self._file


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Name to type and shape of every tensor in a safetensors file, without reading the tensors."""
    require_plain_file(path)
    try:
        with open(path, "rb") as file:
            header, num_data_bytes = _header_and_data_size(file, path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    header.pop("__metadata__", None)
    spans: dict[str, tuple[int, int]] = {}
    entries: dict[str, TensorEntry] = {}
    for name, value in header.items():
        entries[name], spans[name] = _entry(value, f"{path}: tensor {name[:200]!r}")
    _check_spans(spans, num_data_bytes, path)
    return entries


def _header_and_data_size(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    file_size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if file_size < 8 or length > file_size - 8:
        raise UserError(f"{path}: cut off, or not a safetensors file ({file_size:,} bytes); fetch it again")
    if length > MAX_HEADER_BYTES:
        raise UserError(f"{path}: its header claims {length:,} bytes, more than any model needs; fetch it again")
    return parse_json_object(file.read(length), path), file_size - 8 - length


def _entry(value: Any, where: str) -> tuple[TensorEntry, tuple[int, int]]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} has a malformed entry in the header; fetch the file again")
    dtype, shape, span = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not _is_sizes(shape) or not _is_sizes(span) or len(span) != 2:
        raise UserError(f"{where} has a malformed shape or place in the header; fetch the file again")
    if not isinstance(dtype, str) or dtype not in FLOAT_TYPES:
        known = ", ".join(FLOAT_TYPES)
        raise UserError(f"{where} is of type {str(dtype)[:20]}; an Ankh model has {known} only")
    entry = TensorEntry(FLOAT_TYPES[dtype], tuple(shape))
    if entry.num_elements * entry.dtype.itemsize != span[1] - span[0]:
        raise UserError(
            f"{where} has {span[1] - span[0]:,} bytes, which is not its shape {shape}; fetch the file again"
        )
    return entry, (span[0], span[1])


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 48 for size in value)


def _check_spans(spans: Mapping[str, tuple[int, int]], num_data_bytes: int, path: Path) -> None:
    """The tensors must cover the file's data without gap, overlap or remainder."""
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        if span[0] != end:
            raise UserError(f"{path}: tensor {name[:200]!r} does not begin where the one before ends; fetch it again")
        end = span[1]
    if end != num_data_bytes:
        raise UserError(
            f"{path}: its header describes {end:,} bytes of tensors, but {num_data_bytes:,} follow; "
            "the file is cut off or damaged; fetch it again"
        )
