"""Embeddings as Parquet: a row a protein, in input order, with the columns `id`, `length` and `embedding`.

`embedding` is a list of `width` numbers when pooled; per residue it is the rows end to end, length * width numbers,
to be reshaped to (length, -1). Of several layers the numbers of each follow one another: (layers, length, -1). The
provenance is in the file's metadata under the key `openankh`. bf16 is written as float32, which loses nothing.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openankh.files import atomic_path
from openankh.store.keys import text_of_id
from openankh.store.numbers import exported_type
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BYTES_A_PROTEIN = 60
"""An id, a length and the levels of a list."""

METADATA_KEY = "openankh"
ROW_GROUP_BYTES = 32 << 20


class ParquetWriter:
    """A Parquet file being written, a row group at a time."""

    num_done = num_residues_done = 0
    limits = None

    def __init__(self, file: "pq.ParquetWriter", provenance: Provenance) -> None:
        self._file = file
        self._provenance = provenance
        self._pending: list[Embedding] = []
        self._pending_bytes = 0
        self.is_finished = False

    def write(self, batch: Sequence[Embedding]) -> None:
        """Append a batch, in input order."""
        for embedding in batch:
            self._pending.append(embedding)
            self._pending_bytes += embedding.values.nbytes
            if self._pending_bytes >= ROW_GROUP_BYTES:
                self._write_row_group()

    def finish(self, input_sha256: str) -> None:
        """Write what is pending and the metadata."""
        if self._pending:
            self._write_row_group()
        self._file.add_key_value_metadata({METADATA_KEY: json.dumps(self._provenance.of_input(input_sha256).to_json())})
        self.is_finished = True

    def _write_row_group(self) -> None:
        import pyarrow as pa

        schema = self._file.schema
        ids = pa.array([text_of_id(embedding.id) for embedding in self._pending], pa.string())
        lengths = pa.array([embedding.length for embedding in self._pending], pa.int32())
        table = pa.Table.from_arrays([ids, lengths, self._lists(schema.field("embedding").type)], schema=schema)
        self._file.write_table(table)
        self._pending.clear()
        self._pending_bytes = 0

    def _lists(self, kind: "pa.DataType") -> "pa.Array":
        import pyarrow as pa

        arrays = [embedding.values.reshape(-1) for embedding in self._pending]
        numbers = pa.array(np.concatenate(arrays, dtype=exported_type(self._provenance.dtype)))
        if not self._provenance.is_per_residue:
            return pa.FixedSizeListArray.from_arrays(numbers, type=kind)
        ends = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return pa.LargeListArray.from_arrays(pa.array(ends), numbers, type=kind)


@contextmanager
def writing_parquet(path: Path, provenance: Provenance, needed_bytes: int | None = None) -> Iterator[ParquetWriter]:
    """Write `path` beside its target name; it takes the name when the block ends well."""
    import pyarrow.parquet as pq

    # Numbers of a network neither repeat nor compress, and their smallest and largest say nothing.
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": ["id", "length"]}
    with atomic_path(path, needed_bytes=needed_bytes) as temporary:
        with pq.ParquetWriter(temporary, _schema(provenance), **plain) as file:
            writer = ParquetWriter(file, provenance)
            yield writer
        assert writer.is_finished, "finish() was not called"


def _schema(provenance: Provenance) -> "pa.Schema":
    import pyarrow as pa

    number = pa.from_numpy_dtype(exported_type(provenance.dtype))
    item = pa.field("element", number, nullable=False)
    embedding = (
        pa.large_list(item) if provenance.is_per_residue else pa.list_(item, provenance.num_layers * provenance.width)
    )
    columns = [("id", pa.string()), ("length", pa.int32()), ("embedding", embedding)]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])
