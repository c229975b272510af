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
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.files import atomic_file
from openankh.store.numbers import SAFETENSORS_NAMES, itemsize, to_stored
from openankh.store.provenance import Provenance


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
    header, size = safetensors_header(
        {
            "embeddings": (SAFETENSORS_NAMES[provenance.dtype], shape, itemsize(provenance.dtype)),
            "id_ends": ("I64", (len(ids),), 8),
            "lengths": ("I64", (len(ids),), 8),
            "ids": ("U8", (int(id_ends[-1]),), 1),
        }
    )
    rows = (_bytes_of(to_stored(array, provenance.dtype)) for array in content.arrays)
    tables = (id_ends.tobytes(), np.array(content.lengths, "<i8").tobytes(), *ids)
    digest = hashlib.sha256()
    with atomic_file(path, needed_bytes=size) as file:
        for part in chain((header,), rows, tables):
            file.write(part)
            digest.update(part)
    return ShardEntry(path.name, size, digest.hexdigest(), len(ids), sum(content.lengths))


def _bytes_of(array: NDArray) -> memoryview:
    """The bytes of an array, copied only where they do not lie end to end."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def safetensors_header(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> tuple[bytes, int]:
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
