"""Reading a shard: its header checked, then only the bytes that are asked for.

Bytes are read, not mapped, but for `rows`: a file that is cut short or fails under the reader is then an error of one
line and not the end of the process.
"""

import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.store.mapping import mapped_bytes
from openankh.store.numbers import SAFETENSORS_NAMES, from_stored, stored_type
from openankh.store.provenance import Provenance
from openankh.store.shard import ShardEntry

MAX_HEADER_BYTES = 1 << 20
CHUNK_BYTES, SMALL_BYTES = 4 << 20, 1 << 16
"""What `arrays` reads at once where proteins are small on the average: it makes the cost of a call small."""
REMEDY = "copy the store again, or embed again"


class Shard:
    """A shard opened for reading; its header is checked against its entry and provenance."""

    def __init__(self, path: Path, entry: ShardEntry, provenance: Provenance) -> None:
        self._path = path
        self._provenance = provenance
        self._type = stored_type(provenance.dtype)
        self._num_rows = provenance.num_rows(entry.num_records, entry.num_residues)
        self._num_records = entry.num_records
        self._descriptor = _opened(path)
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self._places, self._data_start = self._read_header()
        self._rows_start = self._place("embeddings", SAFETENSORS_NAMES[provenance.dtype], self._shape, self._type)
        self.lengths = self._tensor("lengths", "I64", entry.num_records, np.dtype("<i8"))
        longest, shortest = self.lengths.max(initial=0), self.lengths.min(initial=1)
        if int(self.lengths.sum()) != entry.num_residues or shortest < 1 or longest > entry.num_residues:
            raise damaged(path, "its lengths are not those of the manifest")

    def __len__(self) -> int:
        return self._num_records

    def __getitem__(self, index: int) -> NDArray[np.floating]:
        length, end = int(self.lengths[index]), int(self._row_ends[index])
        shape = self._provenance.shape_of(length)
        row_bytes = self._provenance.width * self._type.itemsize
        start = self._rows_start + (end - self._provenance.num_rows(1, length)) * row_bytes
        stored = self._read(start, math.prod(shape) * self._type.itemsize).view(self._type).reshape(shape)
        return from_stored(stored, self._provenance.dtype)

    def arrays(self) -> Iterator[NDArray[np.floating]]:
        """The arrays of all its proteins, in order, in bounded memory."""
        if self._num_rows * self._provenance.width * self._type.itemsize > SMALL_BYTES * len(self):
            yield from map(self.__getitem__, range(len(self)))
            return
        row_bytes = self._provenance.width * self._type.itemsize
        ends = self._row_ends
        first = first_row = 0
        while first < len(self):
            last = max(int(np.searchsorted(ends, first_row + CHUNK_BYTES // row_bytes, "right")), first + 1)
            num_rows = int(ends[last - 1]) - first_row
            chunk = self._read(self._rows_start + first_row * row_bytes, num_rows * row_bytes)
            rows = chunk.view(self._type).reshape(num_rows, -1)
            parts = np.split(rows, ends[first : last - 1] - first_row)
            for length, part in zip(self.lengths[first:last].tolist(), parts, strict=True):
                # A copy: whoever keeps one protein must not keep the chunk.
                yield from_stored(part.reshape(self._provenance.shape_of(length)).copy(), self._provenance.dtype)
            first, first_row = last, first_row + num_rows

    @cached_property
    def rows(self) -> NDArray:
        """All rows (N, D) as stored, mapped; the bits of a bf16 are an unsigned integer."""
        num_bytes = math.prod(self._shape) * self._type.itemsize
        content = mapped_bytes(self._path)
        if len(content) < self._rows_start + num_bytes:
            raise damaged(self._path, "it was cut short")
        return content[self._rows_start : self._rows_start + num_bytes].view(self._type).reshape(self._shape)

    @property
    def ids(self) -> list[str]:
        """The ids of its proteins, in order."""
        return [self._text(name) for name in self.id_bytes()]

    def id_bytes(self) -> Iterator[bytes]:
        """The ids of its proteins, in order, as UTF-8."""
        ends = self._id_ends.tolist()
        joined = self._tensor("ids", "U8", ends[-1] if ends else 0, np.dtype(np.uint8)).tobytes()
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield joined[start:end]

    def id(self, index: int) -> str:
        """The id of one protein."""
        ends = self._id_ends
        start, end = int(ends[index - 1]) if index else 0, int(ends[index])
        first = self._place("ids", "U8", (int(ends[-1]),), np.dtype(np.uint8))
        return self._text(self._read(first + start, end - start).tobytes())

    @cached_property
    def _id_ends(self) -> NDArray[np.int64]:
        ends = self._tensor("id_ends", "I64", self._num_records, np.dtype("<i8"))
        if (ends < 0).any() or (ends[1:] < ends[:-1]).any():
            raise damaged(self._path, "its ids overlap")
        return ends

    @cached_property
    def _row_ends(self) -> NDArray[np.int64]:
        ones = np.ones(len(self.lengths), np.int64)
        return np.cumsum(self.lengths if self._provenance.is_per_residue else ones) * self._provenance.num_layers

    @property
    def _shape(self) -> tuple[int, int]:
        return self._num_rows, self._provenance.width

    def _text(self, name: bytes) -> str:
        try:
            return name.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise damaged(self._path, "its ids are not text") from None

    def _tensor(self, name: str, dtype: str, length: int, numpy_type: np.dtype) -> NDArray:
        start = self._place(name, dtype, (length,), numpy_type)
        return self._read(start, length * numpy_type.itemsize).view(numpy_type)

    def _place(self, name: str, dtype: str, shape: tuple[int, ...], numpy_type: np.dtype) -> int:
        """Where a tensor begins, when the header gives it exactly this type and shape and it lies inside the file."""
        place = self._places.get(name)
        size = math.prod(shape) * numpy_type.itemsize
        if not isinstance(place, dict) or (place.get("dtype"), place.get("shape")) != (dtype, list(shape)):
            raise damaged(self._path, f"its tensor {name!r} is not {dtype} of shape {list(shape)}")
        begin, end = _range_of(place, self._path, name)
        num_data_bytes = os.fstat(self._descriptor).st_size - self._data_start
        if not 0 <= begin <= end <= num_data_bytes or end - begin != size:
            raise damaged(self._path, f"its tensor {name!r} does not lie inside the file")
        return self._data_start + begin

    def _read_header(self) -> tuple[Mapping[str, Any], int]:
        """(tensor places by name, first byte of the data) of a safetensors file."""
        try:
            size = int.from_bytes(self._read(0, 8).tobytes(), "little")
            header = json.loads(self._read(8, size).tobytes()) if size <= MAX_HEADER_BYTES else None
        except (ValueError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            header = None
        if not isinstance(header, dict):
            raise damaged(self._path, "it is not a safetensors file")
        return header, 8 + size

    def _read(self, start: int, num_bytes: int) -> NDArray[np.uint8]:
        """So many bytes from a place of the file, in memory of their own."""
        content = np.empty(num_bytes, np.uint8)
        rest = content.data
        while rest:
            try:
                num_read = os.preadv(self._descriptor, [rest], start)
            except OSError as error:
                raise damaged(self._path, f"it cannot be read: {str(error.strerror).lower()}") from None
            if not num_read:
                raise damaged(self._path, "it was cut short")
            rest, start = rest[num_read:], start + num_read
        return content


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file of a store that is not as it was written."""
    return UserError(f"{path}: damaged ({reason}); {REMEDY}")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise UserError(f"{path}: missing from the store; {REMEDY}") from None
    except OSError as error:
        reason = str(error.strerror).lower()
        raise UserError(f"{path}: cannot be opened ({reason}); check its permissions") from None


def _range_of(place: Mapping[str, Any], path: Path, name: str) -> tuple[int, int]:
    offsets = place.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(isinstance(offset, int) for offset in offsets):
        raise damaged(path, f"its tensor {name!r} has no place")
    return offsets[0], offsets[1]
