"""Embeddings as HDF5: one dataset a protein, in input order, named by its id (see `openankh.store.keys`).

Each dataset has the attributes `id`, `index` (place in the input, from 0) and `length` (residues); the file has the
provenance as attributes. bf16 is written as float32, which loses nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openankh.files import atomic_path
from openankh.store.keys import KeyMaker, text_of_id
from openankh.store.numbers import exported_type
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance
from openankh.store.steady_file import SteadyFile

if TYPE_CHECKING:
    import h5py

BYTES_A_PROTEIN = 700
"""Measured overhead of a dataset with its name, three attributes and creation order."""


class Hdf5Writer:
    """An HDF5 file being written."""

    num_done = num_residues_done = 0
    limits = None

    def __init__(self, file: "h5py.File", disk: SteadyFile, provenance: Provenance) -> None:
        self._file = file
        self._disk = disk
        self._provenance = provenance
        self._type = exported_type(provenance.dtype)
        self._keys = KeyMaker(file.__contains__)
        self._num_written = 0
        self.is_finished = False

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order."""
        for embedding in batch:
            dataset = self._file.create_dataset(
                self._keys.next(embedding.id), data=embedding.values.astype(self._type, copy=False)
            )
            dataset.attrs["id"] = text_of_id(embedding.id)
            dataset.attrs["index"] = self._num_written
            dataset.attrs["length"] = embedding.length
            self._num_written += 1
            self._disk.raise_failure()

    def finish(self, input_sha256: str) -> None:
        """Write the attributes of the whole."""
        for name, value in self._provenance.of_input(input_sha256).to_json().items():
            self._file.attrs[name] = value
        self._file.attrs["num_records"] = self._num_written
        self.is_finished = True


@contextmanager
def writing_hdf5(path: Path, provenance: Provenance, needed_bytes: int | None = None) -> Iterator[Hdf5Writer]:
    """Write `path` beside its target name; it takes the name when the block ends well."""
    import h5py

    with atomic_path(path, needed_bytes=needed_bytes) as temporary, open(temporary, "r+b", buffering=0) as raw:
        disk = SteadyFile(raw)
        with h5py.File(disk, "w", track_order=True) as file:
            writer = Hdf5Writer(file, disk, provenance)
            yield writer
        disk.raise_failure()
        assert writer.is_finished, "finish() was not called"
