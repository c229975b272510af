"""A Parquet file as a table of text cells."""

from pathlib import Path

from openankh.decompression import printable
from openankh.errors import UserError
from openankh.tasks.table import Table


def read_parquet(path: Path) -> Table:
    """All columns as text, empty where a cell is null; rows count as lines from 1. UserError for what is none."""
    name = printable(str(path), 300)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{name}: reading Parquet needs pyarrow; pip install 'openankh[export]'") from None
    if not path.is_file():
        raise UserError(f"{name}: no such file; check the path")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{name}: no Parquet file ({printable(str(error))}); write it again") from None
    columns = {
        column: tuple("" if value is None else str(value).strip() for value in table.column(column).to_pylist())
        for column in table.column_names
    }
    return Table(name, columns, tuple(range(1, table.num_rows + 1)))
