"""One shard of an embedding store: a safetensors file of many proteins' rows with their ids and lengths.

Tensors: `embeddings` (rows, D), proteins end to end, of several layers a protein's first, then its next; `lengths`
(B,) residues of each protein; `ids` the UTF-8 bytes of all ids end to end; `id_ends` (B,) where each id ends. Any
safetensors reader opens it; this one maps it, so that nothing is read but what is asked for. It is written here, not by
the safetensors package, because that wants the whole shard in memory a second time and has no bf16 for numpy.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.files import atomic_file
from openankh.store.numbers import SAFETENSORS_NAMES, from_stored, itemsize, stored_type, to_stored
from openankh.store.provenance import Provenance

MAX_HEADER_BYTES = 1 << 20
_REMEDY = "copy the store again, or embed again"


@dataclass(frozen=True)
class ShardEntry:
    """What a manifest says of a shard: its name, its bytes and their hash, and what it holds."""

    name: str
    size: int
    sha256: str
    num_records: int
    num_residues: int


@dataclass(frozen=True, eq=False)
class ShardContent:
    """The proteins of one shard, not yet written: ids (B), lengths in residues (B) and arrays (B) in the same order."""

    ids: Sequence[str]
    lengths: Sequence[int]
    arrays: Sequence[NDArray[np.floating]]


def shard_name(number: int) -> str:
    """The file name of a store's shard, counted from 0."""
    return f"shard-{number:06d}.safetensors"


def write_shard(path: Path, content: ShardContent, provenance: Provenance) -> ShardEntry:
    """Write a shard durably, whole or not at all; returns its entry."""
    ids = [id_to_bytes(name) for name in content.ids]
    id_ends = np.cumsum([len(name) for name in ids], dtype="<i8")
    num_rows = provenance.num_rows(len(ids), sum(content.lengths))
    shape = (num_rows, provenance.width)
    header, size = _header(
        {
            "embeddings": (SAFETENSORS_NAMES[provenance.dtype], shape, itemsize(provenance.dtype)),
            "id_ends": ("I64", (len(ids),), 8),
            "lengths": ("I64", (len(ids),), 8),
            "ids": ("U8", (int(id_ends[-1]),), 1),
        }
    )
    rows = (to_stored(array, provenance.dtype).tobytes() for array in content.arrays)
    tables = (id_ends.tobytes(), np.array(content.lengths, "<i8").tobytes(), *ids)
    digest = hashlib.sha256()
    with atomic_file(path, needed_bytes=size) as file:
        for part in chain((header,), rows, tables):
            file.write(part)
            digest.update(part)
    return ShardEntry(path.name, size, digest.hexdigest(), len(ids), sum(content.lengths))


def _header(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> tuple[bytes, int]:
    """The head of a safetensors file of these tensors (type, shape, bytes an item) in order, and the file's size.

    The large tensor and the 8-byte ones come first, so that all are aligned.
    """
    places: dict[str, Any] = {"__metadata__": {"format": "openankh-embeddings"}}
    end = 0
    for name, (dtype, shape, item_bytes) in tensors.items():
        begin, end = end, end + math.prod(shape) * item_bytes
        places[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(places, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + end


def id_to_bytes(name: str) -> bytes:
    """An id as UTF-8; whatever a Python string can hold comes back exactly."""
    return name.encode("utf-8", "surrogatepass")


class Shard:
    """A shard opened for reading; its header is checked against its entry and provenance, its rows are mapped."""

    def __init__(self, path: Path, entry: ShardEntry, provenance: Provenance) -> None:
        self._path = path
        self._provenance = provenance
        self._places, self._data_start = _read_header(path)
        rows = provenance.num_rows(entry.num_records, entry.num_residues)
        self._bytes = np.memmap(path, np.uint8, mode="r")
        name = SAFETENSORS_NAMES[provenance.dtype]
        self.rows = self._view("embeddings", name, (rows, provenance.width), stored_type(provenance.dtype))
        self.lengths = self._view("lengths", "I64", (entry.num_records,), np.dtype("<i8"))
        if int(self.lengths.sum()) != entry.num_residues or self.lengths.min(initial=1) < 1:
            raise _damaged(path, "its lengths are not those of the manifest")

    @cached_property
    def ids(self) -> list[str]:
        """The ids of its proteins, in order."""
        ends = self._view("id_ends", "I64", (len(self.lengths),), np.dtype("<i8")).tolist()
        joined = self._view("ids", "U8", (ends[-1] if ends else 0,), np.dtype(np.uint8)).tobytes()
        starts = [0, *ends[:-1]]
        try:
            return [joined[start:end].decode("utf-8", "surrogatepass") for start, end in zip(starts, ends, strict=True)]
        except UnicodeDecodeError:
            raise _damaged(self._path, "its ids are not text") from None

    @cached_property
    def _row_ends(self) -> NDArray[np.int64]:
        ones = np.ones(len(self.lengths), np.int64)
        return np.cumsum(self.lengths if self._provenance.is_per_residue else ones) * self._provenance.num_layers

    def __getitem__(self, index: int) -> NDArray[np.floating]:
        length, end = int(self.lengths[index]), int(self._row_ends[index])
        rows = self.rows[end - self._provenance.num_rows(1, length) : end]
        return from_stored(rows.reshape(self._provenance.shape_of(length)), self._provenance.dtype)

    def _view(self, name: str, dtype: str, shape: tuple[int, ...], numpy_type: np.dtype) -> NDArray:
        """The mapped tensor, when the header gives it exactly this type and shape and it lies inside the file."""
        place = self._places.get(name)
        size = math.prod(shape) * numpy_type.itemsize
        if not isinstance(place, dict) or (place.get("dtype"), place.get("shape")) != (dtype, list(shape)):
            raise _damaged(self._path, f"its tensor {name!r} is not {dtype} of shape {list(shape)}")
        begin, end = _range_of(place, self._path, name)
        if not 0 <= begin <= end <= len(self._bytes) - self._data_start or end - begin != size:
            raise _damaged(self._path, f"its tensor {name!r} does not lie inside the file")
        part = self._bytes[self._data_start + begin : self._data_start + end]
        return np.asarray(part).view(numpy_type).reshape(shape)


def _range_of(place: Mapping[str, Any], path: Path, name: str) -> tuple[int, int]:
    offsets = place.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(isinstance(offset, int) for offset in offsets):
        raise _damaged(path, f"its tensor {name!r} has no place")
    return offsets[0], offsets[1]


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(tensor places by name, first byte of the data) of a safetensors file."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MAX_HEADER_BYTES:
                raise _damaged(path, "it is not a safetensors file")
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise UserError(f"{path}: missing from the store; {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise _damaged(path, "it is not a safetensors file") from None
    if not isinstance(header, dict):
        raise _damaged(path, "it is not a safetensors file")
    return header, 8 + size


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); {_REMEDY}")
