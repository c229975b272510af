"""Embeddings as HDF5: one dataset a protein, in input order, named by its id (see `openankh.store.keys`).

Each dataset has the attributes `id`, `index` (place in the input, from 0) and `length` (residues); the file has the
provenance as attributes. bf16 is written as float32, which loses nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

_MAX_SPACES = 1_000


class Hdf5Writer:
    """An HDF5 file being written."""

    num_done = num_residues_done = 0
    limits = None

    def __init__(self, file: "h5py.File", disk: SteadyFile, provenance: Provenance) -> None:
        self._file = file
        self._disk = disk
        self._provenance = provenance
        self._datasets = _DatasetMaker(file, exported_type(provenance.dtype))
        self._keys = KeyMaker(self._datasets.has)
        self._num_written = 0
        self.is_finished = False

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order."""
        for embedding in batch:
            self._datasets.make(self._keys.next(embedding.id), embedding, self._num_written)
            self._num_written += 1
            self._disk.raise_failure()

    def finish(self, input_sha256: str) -> None:
        """Write the attributes of the whole."""
        for name, value in self._provenance.of_input(input_sha256).to_json().items():
            self._file.attrs[name] = value
        self._file.attrs["num_records"] = self._num_written
        self.is_finished = True


class _DatasetMaker:
    """Makes a dataset a protein by HDF5's own calls: h5py's convenient ones take more than twice as long."""

    def __init__(self, file: "h5py.File", numbers: np.dtype) -> None:
        import h5py

        names = ("h5a", "h5d", "h5o", "h5p", "h5s", "h5t")
        self._h5a, self._h5d, self._h5o, h5p, self._h5s, h5t = (import_module(f"h5py.{name}") for name in names)
        self._file, self._numbers, self._text = file.id, numbers, h5py.string_dtype()
        self._types = {kind: h5t.py_create(kind, logical=1) for kind in (numbers, self._text, np.dtype(np.int64))}
        self._scalar = self._h5s.create(self._h5s.SCALAR)
        self._spaces: dict[tuple[int, ...], Any] = {}
        self._links = h5p.create(h5p.LINK_CREATE)
        self._links.set_char_encoding(h5t.CSET_UTF8)
        self._making = h5p.create(h5p.DATASET_CREATE)
        self._making.set_obj_track_times(False)  # equal embeddings make equal files

    def has(self, key: str) -> bool:
        """Whether the file has a dataset of this name."""
        return key.encode() in self._file

    def make(self, key: str, embedding: Embedding, index: int) -> None:
        """Write a protein under a name, with its attributes."""
        values = np.ascontiguousarray(embedding.values, self._numbers)
        kind, space = self._types[self._numbers], self._space(values.shape)
        dataset = self._h5d.create(self._file, None, kind, space, self._making)
        dataset.write(self._h5s.ALL, self._h5s.ALL, values)
        self._attach(dataset, b"id", np.array(text_of_id(embedding.id), self._text))
        self._attach(dataset, b"index", np.array(index, np.int64))
        self._attach(dataset, b"length", np.array(embedding.length, np.int64))
        self._h5o.link(dataset, self._file, key.encode(), lcpl=self._links)

    def _attach(self, dataset: Any, name: bytes, value: NDArray) -> None:
        self._h5a.create(dataset, name, self._types[value.dtype], self._scalar).write(value)

    def _space(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._spaces:
            if len(self._spaces) == _MAX_SPACES:
                self._spaces.clear()
            self._spaces[shape] = self._h5s.create_simple(shape)
        return self._spaces[shape]


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
