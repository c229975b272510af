"""The questions that a visitor can start with, of the bundled proteins."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from openankh.dossier.sources import bundled_fasta
from openankh.fasta import FastaReader, Record

_FAMILIES = (
    "thioredoxin",
    "Ras-like_GTPase",
    "insulin-like",
    "calmodulin-like",
    "histone_H3",
    "cyclophilin",
    "superoxide_dismutase",
    "dihydrofolate_reductase",
)


@dataclass(frozen=True)
class Example:
    """A question: `ids` are those of bundled proteins."""

    name: str
    title: str
    about: str
    ids: Sequence[str]


@cache
def examples() -> Sequence[Example]:
    """All of them, the smallest first."""
    families = [record.id for record in _bundled().values() if _family(record) in _FAMILIES]
    return (
        Example("one", "KRas", "one protein of 189 residues", ("P01116",)),
        Example("three", "Thioredoxin, KRas, GFP", "three proteins, a map of them", ("P10599", "P01116", "P42212")),
        Example("families", "Eight families", f"{len(families)} proteins, coloured by family", families),
    )


def example_fasta(name: str) -> str | None:
    """The FASTA text of an example; None where there is none of that name."""
    found = next((example for example in examples() if example.name == name), None)
    if found is None:
        return None
    records = [_bundled()[protein] for protein in found.ids]
    return "".join(f">{record.id} {record.description}\n{record.sequence}\n" for record in records)


@cache
def _bundled() -> dict[str, Record]:
    return {record.id: record for record in FastaReader(bundled_fasta())}


def _family(record: Record) -> str:
    return record.description.partition("family=")[2].partition(" ")[0]
