"""Sets of proteins that are judged together: designs, naturals, controls; read from FASTA or a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from openankh.decompression import ByteSource, printable
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions
from openankh.residues import MisfitError, ReadCounts, Residues
from openankh.tasks.table import Table, plain_suffix, read_table

_SEQUENCES = ("sequence", "seq", "protein", "mutated_sequence")
_TABLES = (".csv", ".tsv", ".tab", ".txt")


@dataclass(frozen=True)
class ProteinSet:
    """Proteins under one name, in their file's order; ids may repeat, sequences too."""

    name: str
    ids: tuple[str, ...]
    sequences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sequences)

    def chosen(self, places: Iterable[int], name: str | None = None) -> "ProteinSet":
        """Those at these places, in that order."""
        places = list(places)
        ids, sequences = ([part[place] for place in places] for part in (self.ids, self.sequences))
        return ProteinSet(name or self.name, tuple(ids), tuple(sequences))

    def distinct(self) -> "ProteinSet":
        """The first of each sequence."""
        first: dict[str, int] = {}
        for place, sequence in enumerate(self.sequences):
            first.setdefault(sequence, place)
        return self.chosen(first.values())

    def sample(self, most: int, seed: int, name: str | None = None) -> "ProteinSet":
        """At most so many, drawn without repetition, in their own order."""
        places = range(len(self)) if len(self) <= most else sorted(Random(seed).sample(range(len(self)), most))
        return self.chosen(places, name)

    def shuffled(self, seed: int, name: str) -> "ProteinSet":
        """The same proteins with their residues in random order: composition and length are all that stays."""
        random = Random(seed)
        sequences = ("".join(random.sample(sequence, len(sequence))) for sequence in self.sequences)
        return ProteinSet(name, self.ids, tuple(sequences))


def read_set(path: Path | str, name: str | None = None) -> ProteinSet:
    """A FASTA file, or a CSV or TSV table with a column `sequence`; plain or compressed.

    The name is that of the file without its endings, unless given. Raises UserError in one line for what is neither,
    and for a file without proteins.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{printable(str(path), 300)}: is a folder; name a FASTA file or a table in it")
    found = _table(read_table(path)) if _is_table(path) else _fasta(path)
    if not found.sequences:
        raise UserError(f"{printable(str(path), 300)}: holds no proteins; give a FASTA file, or a table with a column "
                        "sequence")  # fmt: skip
    return ProteinSet(name or path.name.split(".")[0] or "proteins", found.ids, found.sequences)


def _is_table(path: Path) -> bool:
    if plain_suffix(path) not in _TABLES:
        return False
    with ByteSource(path) as source:
        return not next(source.blocks(), b"").lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b">")


def _fasta(path: Path) -> ProteinSet:
    records = [record for record in FastaReader(path, ReadOptions(unknown="x")) if record.sequence]
    return ProteinSet("", tuple(record.id for record in records), tuple(record.sequence for record in records))


def _table(table: Table) -> ProteinSet:
    column = next((name for name in _SEQUENCES if name in table), None)
    cells = table.column(column or "sequence")
    ids = table.column("id") if "id" in table else tuple(f"line {line}" for line in table.lines)
    residues, counts, sequences = Residues(ReadOptions(unknown="x")), ReadCounts(), []
    for cell, line in zip(cells, table.lines, strict=True):
        place = f"{table.name}, line {line}"
        try:
            letters = residues.read(cell.encode("utf-8", "surrogateescape"), counts)
        except MisfitError as misfit:
            raise UserError(f"{place}: residue {misfit.column}: {misfit.problem}") from None
        if not letters:
            raise UserError(f"{place}: has no sequence; add it or remove the row")
        sequences.append(letters.decode("ascii"))
    return ProteinSet("", ids, tuple(sequences))
