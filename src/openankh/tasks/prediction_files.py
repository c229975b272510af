"""Predictions as a file: a table in CSV, TSV or Parquet, or FASTA with the predicted labels.

A table has a row for each protein, for each residue, or for each pair of residues likely enough to be a contact.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from openankh.errors import UserError
from openankh.files import atomic_file
from openankh.tasks.artifact import Artifact
from openankh.tasks.contact_precision import RANGES
from openankh.tasks.predicting import Prediction
from openankh.tasks.target_space import Classes, Labels, Numbers
from openankh.tasks.task import Unit

TABLES = {".csv": ",", ".tsv": "\t"}
FASTAS = (".fasta", ".fa")
ENDINGS = (*TABLES, ".parquet", *FASTAS)
LEAST = 0.05
"""Pairs less likely to be in contact than this are not written."""
_LINE = 60
Cells = Sequence[str | int | float]


class PredictionWriter(Protocol):
    """What writes predictions, one after the other."""

    def write(self, prediction: Prediction) -> None:
        """Add one protein's."""
        ...

    def finish(self) -> None:
        """Write what is held back."""
        ...


def check_output(name: str, artifact: Artifact, overwrite: bool) -> Path:
    """The file a user named; UserError for an ending that does not serve, and for what stands there already."""
    path = Path(name)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"{name}: unknown ending {path.suffix!r}; use {', '.join(ENDINGS)}")
    if ending in FASTAS and artifact.config.unit == "pair":
        raise UserError(f"{name}: pairs of residues do not fit FASTA; use .csv, .tsv or .parquet")
    if ending == ".parquet":
        from openankh.tasks.predicted_parquet import require_pyarrow

        require_pyarrow(name)
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


@contextmanager
def writing_predictions(path: Path, artifact: Artifact, least: float = LEAST) -> Iterator[PredictionWriter]:
    """Write predictions to a file that appears when the block ends well."""
    ending, table = path.suffix.lower(), PredictionTable(artifact, least)
    with atomic_file(path) as file:
        writer: PredictionWriter
        if ending in FASTAS:
            writer = _FastaWriter(file, artifact.config.unit)
        elif ending == ".parquet":
            from openankh.tasks.predicted_parquet import ParquetWriter

            writer = ParquetWriter(file, table)
        else:
            writer = _TextWriter(file, table, TABLES[ending])
        yield writer
        writer.finish()


class PredictionTable:
    """The columns of an artifact's predictions, and the rows of each protein."""

    def __init__(self, artifact: Artifact, least: float) -> None:
        self.unit = artifact.config.unit
        self.least = least
        space = artifact.space
        self.is_number = isinstance(space, Numbers)
        names = [f"p_{name}" for name in space.names] if isinstance(space, Classes | Labels) else []
        if self.unit == "pair":
            self.columns = ["id", "i", "j", "probability"]
        elif self.unit == "residue":
            self.columns = ["id", "position", "residue", "prediction", *names]
        else:
            self.columns = ["id", "prediction", *names]

    def rows(self, prediction: Prediction) -> Iterator[Cells]:
        """One row for each residue, pair (positions from 1), or the protein."""
        record, shares = prediction.record, prediction.probabilities
        if self.unit == "pair":
            yield from self._pairs(prediction)
        elif self.unit == "residue" and isinstance(prediction.values, tuple):
            assert shares is not None
            for place, (letter, value) in enumerate(zip(record.sequence, prediction.values, strict=True)):
                yield [record.id, place + 1, letter, value, *map(float, shares[place])]
        else:
            value = prediction.values[0] if isinstance(prediction.values, tuple) else prediction.values
            assert value is not None
            yield [record.id, value, *([] if shares is None else map(float, shares))]

    def _pairs(self, prediction: Prediction) -> Iterator[Cells]:
        """Pairs six residues apart or more, the likeliest first."""
        assert prediction.probabilities is not None
        first, second = RANGES["all"].pairs(len(prediction.record.sequence))
        shares = prediction.probabilities[first, second]
        for place in np.argsort(-shares, kind="stable"):
            if shares[place] < self.least:
                return
            yield [prediction.record.id, int(first[place]) + 1, int(second[place]) + 1, float(shares[place])]


class _TextWriter:
    """A table as text; probabilities to four digits behind the point, other numbers in full."""

    def __init__(self, file: BinaryIO, table: PredictionTable, delimiter: str) -> None:
        self._file, self._table = file, table
        self._text = io.StringIO()
        self._csv = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")
        self._csv.writerow(table.columns)
        self._first_share = 3 if table.unit == "pair" else table.columns.index("prediction") + 1

    def write(self, prediction: Prediction) -> None:
        for row in self._table.rows(prediction):
            shares = [f"{share:.4f}" for share in row[self._first_share :]]
            self._csv.writerow([*row[: self._first_share], *shares])
        self.finish()

    def finish(self) -> None:
        self._file.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()


class _FastaWriter:
    """Labels of residues in the place of the sequence; of a protein its sequence, the prediction in the header."""

    def __init__(self, file: BinaryIO, unit: Unit) -> None:
        self._file, self._unit = file, unit

    def write(self, prediction: Prediction) -> None:
        record, values = prediction.record, prediction.values
        if self._unit == "residue" and isinstance(values, tuple):
            self._add(record.id, "".join(values))
            return
        if not isinstance(values, tuple):
            self._add(f"{record.id} prediction={values:.6g}", record.sequence)
            return
        assert prediction.probabilities is not None
        share = float(prediction.probabilities.max())
        name = "_".join(values[0].split()) or "none"
        self._add(f"{record.id} prediction={name} probability={share:.4f}", record.sequence)

    def finish(self) -> None:
        return

    def _add(self, header: str, letters: str) -> None:
        lines = [letters[start : start + _LINE] for start in range(0, len(letters), _LINE)]
        self._file.write("\n".join([f">{header}", *lines, ""]).encode())
