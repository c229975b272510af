"""The bundled proteins: 216 of 21 families, with what their headers say of each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from openankh.fasta import FastaReader, Record

_DESCRIPTION = re.compile(
    r"(?P<name>.+) \[(?P<organism>.+)\] family=(?P<family>\S+) kingdom=(?P<kingdom>\S+)", re.DOTALL
)


@dataclass(frozen=True)
class Protein:
    """One bundled protein; `accession` is UniProt's, `family` is in words."""

    accession: str
    name: str
    organism: str
    family: str
    kingdom: str
    sequence: str


def short_organism(organism: str) -> str:
    """`H. sapiens` for `Homo sapiens`; names that are no binomials stay as they are."""
    genus, _, rest = organism.partition(" ")
    is_binomial = rest.isalpha() and rest.islower() and rest != "virus"
    return f"{genus[0]}. {rest}" if is_binomial else organism


def bundled_fasta() -> Path:
    """Where the FASTA file of the bundled proteins lies."""
    return Path(str(files("openankh"))) / "data" / "demo.fasta"


def bundled_proteins() -> tuple[Protein, ...]:
    """All bundled proteins in the order of their file, family by family."""
    with FastaReader(bundled_fasta()) as records:
        return tuple(_protein(record) for record in records)


def families_of(proteins: Sequence[Protein]) -> list[str]:
    """The family of each protein."""
    return [protein.family for protein in proteins]


def _protein(record: Record) -> Protein:
    match = _DESCRIPTION.fullmatch(record.description)
    assert match, f"the header of {record.id} is not written as data/README.md says"
    words = match.groupdict()
    return Protein(
        record.id,
        words["name"],
        words["organism"],
        words["family"].replace("_", " "),
        words["kingdom"],
        record.sequence,
    )
