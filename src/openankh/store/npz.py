"""Embeddings as NPZ: one array a protein, in input order, named by its id (see `openankh.store.keys`).

Beside them stand `ids` (the true ids in input order), `lengths` (residues of each) and `provenance` (JSON text). No
member needs pickle; members are stored uncompressed, except `ids`. bf16 is written as float32, which loses nothing.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.files import atomic_file
from openankh.store.keys import KeyMaker, text_of_id
from openankh.store.numbers import exported_type
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance

BYTES_A_PROTEIN = 350
"""An array's header and its two entries in the archive's tables."""

_IDS_AT_A_TIME = 1024


class NpzWriter:
    """An NPZ file being written."""

    num_done = num_residues_done = 0
    limits = None

    def __init__(self, archive: zipfile.ZipFile, provenance: Provenance) -> None:
        self._archive = archive
        self._provenance = provenance
        self._type = exported_type(provenance.dtype)
        self._keys = KeyMaker(lambda key: f"{key}.npy" in archive.NameToInfo)
        self._ids: list[str] = []
        self._lengths: list[int] = []
        self.is_finished = False

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order."""
        for embedding in batch:
            self._write_array(self._keys.next(embedding.id), embedding.values.astype(self._type, copy=False))
            self._ids.append(text_of_id(embedding.id))
            self._lengths.append(embedding.length)

    def finish(self, input_sha256: str) -> None:
        """Write the members that concern the whole."""
        self._write_ids()
        self._write_array("lengths", np.array(self._lengths, np.int64))
        self._write_array("provenance", np.array(json.dumps(self._provenance.of_input(input_sha256).to_json())))
        self.is_finished = True

    def _write_array(self, name: str, array: NDArray) -> None:
        with self._archive.open(_member(name), "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def _write_ids(self) -> None:
        """Fixed-width text, a part at a time and deflated: one very long id must not fill memory or disk."""
        width = max(map(len, self._ids), default=1)
        info = _member("ids")
        info.compress_type = zipfile.ZIP_DEFLATED
        header = {"descr": f"<U{width}", "fortran_order": False, "shape": (len(self._ids),)}
        with self._archive.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, len(self._ids), _IDS_AT_A_TIME):
                member.write(np.array(self._ids[start : start + _IDS_AT_A_TIME], f"<U{width}").tobytes())


def _member(name: str) -> zipfile.ZipInfo:
    """An entry without a date, so that equal embeddings make equal files, and readable when unpacked."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.external_attr = 0o644 << 16
    return info


@contextmanager
def writing_npz(path: Path, provenance: Provenance, needed_bytes: int | None = None) -> Iterator[NpzWriter]:
    """Write `path` beside its target name; it takes the name when the block ends well."""
    with atomic_file(path, needed_bytes=needed_bytes) as file:
        with zipfile.ZipFile(file, "w") as archive:
            writer = NpzWriter(archive, provenance)
            yield writer
        assert writer.is_finished, "finish() was not called"
