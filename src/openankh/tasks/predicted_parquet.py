"""Predictions as a Parquet file, written some rows at a time."""

from typing import Any, BinaryIO

from openankh.errors import UserError
from openankh.tasks.predicting import Prediction
from openankh.tasks.prediction_files import Cells, PredictionTable

_ROWS_AT_ONCE = 1 << 16


def require_pyarrow(name: str) -> None:
    """Raise UserError, with the remedy, where what writes Parquet is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(f"{name}: writing Parquet needs pyarrow; pip install 'openankh[export]'") from None


class ParquetWriter:
    """Writes the rows of a table; probabilities in fp32."""

    def __init__(self, file: BinaryIO, table: PredictionTable) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._arrow, self._table = pa, table
        self._schema = pa.schema([(column, self._type(column)) for column in table.columns])
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[Cells] = []

    def write(self, prediction: Prediction) -> None:
        """Add one protein's."""
        self._rows += self._table.rows(prediction)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """Write what is held back, and the end of the file."""
        self._flush()
        self._writer.close()

    def _type(self, column: str) -> Any:
        if column in ("i", "j", "position"):
            return self._arrow.int32()
        if column in ("id", "residue") or (column == "prediction" and not self._table.is_number):
            return self._arrow.string()
        return self._arrow.float64() if column == "prediction" else self._arrow.float32()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        arrays = [self._arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
