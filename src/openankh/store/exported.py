"""What an exported embedding file (HDF5, NPZ, Parquet) says of itself, read without reading its embeddings."""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openankh.errors import UserError
from openankh.store.parquet import METADATA_KEY
from openankh.store.provenance import Provenance, parse_provenance


@dataclass(frozen=True)
class Export:
    """An exported file: its format, how many proteins it holds, and what made the numbers."""

    format: str
    num_records: int
    provenance: Provenance


def export_format(head: bytes) -> str | None:
    """The format of a file that begins with these bytes (eight are enough), None when it is no export's."""
    return next((name for name, (magic, _, _) in _FORMATS.items() if head.startswith(magic)), None)


def read_export(path: Path) -> Export:
    """What the file says of itself; UserError when it is damaged, not openankh's, or its library is missing."""
    with open(path, "rb") as file:
        name = export_format(file.read(8))
    if name is None:
        raise UserError(f"{path}: not HDF5, NPZ or Parquet; give a file that openankh embed wrote")
    _, library, read = _FORMATS[name]
    if importlib.util.find_spec(library) is None:
        raise UserError(f'{path}: needs {library}, which is not installed; run: pip install "openankh[export]"')
    try:
        num_records, provenance = read(path)
        return Export(name, num_records, parse_provenance(provenance))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not embeddings that openankh wrote, or damaged ({reason}); embed again") from None


def _read_hdf5(path: Path) -> tuple[int, Mapping[str, Any]]:
    import h5py

    with h5py.File(path, "r") as file:
        facts = {name: _plain(value) for name, value in file.attrs.items()}
        num_records = facts.pop("num_records")
    return num_records, facts


def _read_npz(path: Path) -> tuple[int, Mapping[str, Any]]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        return len(archive["lengths"]), json.loads(archive["provenance"].item())


def _read_parquet(path: Path) -> tuple[int, Mapping[str, Any]]:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    return metadata.num_rows, json.loads((metadata.metadata or {})[METADATA_KEY.encode()])


def _plain(value: Any) -> Any:
    """An HDF5 attribute as JSON would hold it."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


_Read = Callable[[Path], tuple[int, Mapping[str, Any]]]
_FORMATS: dict[str, tuple[bytes, str, _Read]] = {
    "HDF5": (b"\x89HDF\r\n\x1a\n", "h5py", _read_hdf5),
    "Parquet": (b"PAR1", "pyarrow", _read_parquet),
    "NPZ": (b"PK\x03\x04", "numpy", _read_npz),
}
