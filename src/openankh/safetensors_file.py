"""One safetensors file: its header checked before anything is believed, its tensors read one at a time."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from openankh.errors import UserError
from openankh.json_file import parse_json_object, require_plain_file

MAX_HEADER_BYTES = 1 << 20
"""Nine times what the largest Ankh needs; the 100 MB that the format allows would fill the memory when parsed."""

_PIECE = 1 << 18
Span = tuple[int, int]

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

    Each tensor is memory-mapped for as long as it is copied: a file that changes later cannot change it, and of a file
    larger than the memory a part can be read. Raises UserError naming the file, and the tensor where there is one, for
    a header that is too large, malformed or does not describe the bytes behind it exactly.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_plain_file(path)
        self._file = _open(path)
        try:
            header, self._start = _read_header(self._file, path)
            placed = _checked_entries(header, self._file.seek(0, 2) - self._start, path)
        except OSError as error:
            self._file.close()
            raise _unreadable(path, error) from None
        except BaseException:
            self._file.close()
            raise
        self.entries: dict[str, TensorEntry] = {name: entry for name, (entry, _) in placed.items()}
        self._offsets = {name: span[0] for name, (_, span) in placed.items()}

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """The tensor in memory of its own, turned to `dtype` (None: as stored) on the way to `device`."""
        entry = self.entries[name]
        dtype = dtype or entry.dtype
        if not entry.num_elements:
            return torch.empty(entry.shape, dtype=dtype, device=device)
        place, num_bytes = self._start + self._offsets[name], entry.num_elements * entry.dtype.itemsize
        skipped = place % mmap.ALLOCATIONGRANULARITY
        with self._mapped(place - skipped, skipped + num_bytes, name) as mapped:
            stored = torch.frombuffer(mapped, dtype=torch.uint8, count=num_bytes, offset=skipped)
            tensor = (_copy if place % entry.dtype.itemsize == 0 else _copy_in_pieces)(stored, entry, dtype, device)
            del stored  # else the map could not be closed
        return tensor

    def _mapped(self, start: int, num_bytes: int, name: str) -> mmap.mmap:
        # A private map, for torch takes only memory that may be written to; nothing is ever written.
        try:
            return mmap.mmap(self._file.fileno(), num_bytes, access=mmap.ACCESS_COPY, offset=start)
        except ValueError:  # longer than the file
            raise UserError(f"{self.path}: cut off inside of tensor {name!r}; fetch it again") from None
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _copy(stored: Tensor, entry: TensorEntry, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return stored.view(entry.dtype).view(entry.shape).to(device, dtype, copy=True)


def _copy_in_pieces(stored: Tensor, entry: TensorEntry, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """The same for numbers at odd places, which few files have: moved to an even one, a little of them at a time."""
    tensor = torch.empty(entry.num_elements, dtype=dtype, device=device)
    pieces = zip(tensor.split(_PIECE), stored.split(_PIECE * entry.dtype.itemsize), strict=True)
    for target, content in pieces:
        target.copy_(content.clone().view(entry.dtype))
    return tensor.view(entry.shape)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Name to type and shape of every tensor in a safetensors file, without reading the tensors."""
    file = SafetensorsFile(path)
    file.close()
    return file.entries


def _open(path: Path) -> BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check its permissions and disk")


def _read_header(file: BufferedReader, path: Path) -> tuple[dict[str, Any], int]:
    """The header and where the data behind it begins."""
    file_size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if file_size < 8 or length > file_size - 8:
        raise UserError(f"{path}: cut off, or not a safetensors file ({file_size:,} bytes); fetch it again")
    if length > MAX_HEADER_BYTES:
        raise UserError(f"{path}: its header claims {length:,} bytes, more than any model needs; fetch it again")
    header = parse_json_object(file.read(length), path)
    header.pop("__metadata__", None)
    return header, 8 + length


def _checked_entries(header: Mapping[str, Any], num_data_bytes: int, path: Path) -> dict[str, tuple[TensorEntry, Span]]:
    """Each tensor and its span; together they must cover the file's data without gap, overlap or remainder."""
    placed = {name: _entry(value, f"{path}: tensor {name[:200]!r}") for name, value in header.items()}
    end = 0
    for name, (_, span) in sorted(placed.items(), key=lambda item: item[1][1]):
        if span[0] != end:
            raise UserError(f"{path}: tensor {name[:200]!r} does not begin where the one before ends; fetch it again")
        end = span[1]
    if end != num_data_bytes:
        raise UserError(
            f"{path}: its header describes {end:,} bytes of tensors, but {num_data_bytes:,} follow; "
            "the file is cut off or damaged; fetch it again"
        )
    return placed


def _entry(value: Any, where: str) -> tuple[TensorEntry, Span]:
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
