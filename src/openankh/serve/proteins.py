"""Proteins as requests write them, checked against the limits, and as the records that the library takes."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from openankh.fasta import Record
from openankh.serve.problems import Problem
from openankh.serve.settings import Limits

MOST_ID = 1_000


class Protein(BaseModel):
    """A protein with a name of the client's choice, which comes back beside its result and means nothing else."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field("", max_length=MOST_ID, examples=["P69905"])
    sequence: str = Field(min_length=1, examples=["MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHF"])


Sequences = Annotated[
    list[Annotated[str, Field(min_length=1)] | Protein],
    Field(min_length=1, description="Sequences, or objects with `id` and `sequence`; results come in this order."),
]


def records_of(
    sequences: Sequence[str | Protein], letters: str, limits: Limits, where: str = "sequences"
) -> list[Record]:
    """The records of a request, numbered from 1 where they have no id.

    Raises Problem: 413 for too many proteins or residues, 422 with the index of one that is too long or has a letter
    that the model does not know.
    """
    if len(sequences) > limits.proteins:
        raise Problem(422, f"{where}: {len(sequences):,} proteins; {limits.proteins:,} a request are the most", where)
    known = frozenset(letters)
    records = [_record(each, number, known, limits, where) for number, each in enumerate(sequences)]
    total = sum(len(record.sequence) for record in records)
    if total > limits.request_residues:
        raise Problem(
            422, f"{where}: {total:,} residues together; {limits.request_residues:,} a request are the most", where
        )
    return records


def _record(given: str | Protein, number: int, known: frozenset[str], limits: Limits, where: str) -> Record:
    name, text = (given.id, given.sequence) if isinstance(given, Protein) else ("", given)
    place = f"{where}[{number}]"
    sequence = "".join(text.split()).upper() if not text.isalpha() else text.upper()
    if not sequence:
        raise Problem(422, f"{place}: has no residues", place)
    if len(sequence) > limits.residues:
        raise Problem(422, f"{place}: {len(sequence):,} residues; {limits.residues:,} are the most", place)
    if unknown := set(sequence) - known:
        letter = next(letter for letter in sequence if letter in unknown)
        at = sequence.index(letter) + 1
        raise Problem(422, f"{place}: {letter!r} at residue {at:,} is no residue that the model knows", place)
    return Record(name or str(number + 1), "", sequence, number + 1)
