"""Substitutions of residues, written as the field writes them: `A23V`, several as `A23V:G41D`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from openankh.errors import UserError

WILD_TYPE = "WT"
"""How a table writes the protein without any mutation."""

_SEPARATORS = re.compile(r"\s*[:,;/+]\s*|\s+")
_SUBSTITUTION = re.compile(r"([A-Z])([0-9]{1,9})([A-Z])")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One substitution: the residue expected at a position, counted from 1, and the one put there.

    The two may be the same letter (a synonymous change, which measured data sets list).
    """

    wild_type: str
    position: int
    mutant: str

    def __post_init__(self) -> None:
        assert self.position >= 1, "positions count from 1"
        assert len(self.wild_type) == len(self.mutant) == 1

    def __str__(self) -> str:
        return f"{self.wild_type}{self.position}{self.mutant}"


def parse_mutations(text: str, row: int | None = None) -> tuple[Mutation, ...]:
    """Read `A23V:G41D`, in the order written; `WT` is no mutation at all.

    The field's separator is `:`; `,` `;` `/` `+` and white space are accepted as well, since tables and papers use them
    and no substitution contains them. Raises UserError naming the part that cannot be read, and the table's row when
    given.
    """
    text = text.strip()
    if text.upper() == WILD_TYPE:
        return ()
    if not text:
        raise UserError(f"{_place(row)}no mutation given; write one like A23V, or {WILD_TYPE} for the wild type")
    mutations = tuple(_parse_one(part, row) for part in _SEPARATORS.split(text))
    _refuse_position_twice(mutations, row)
    return mutations


def format_mutations(mutations: Iterable[Mutation]) -> str:
    """Write mutations as `A23V:G41D`, and none as `WT`; `parse_mutations` reads it back."""
    return ":".join(map(str, mutations)) or WILD_TYPE


def apply(sequence: str, mutations: Iterable[Mutation], row: int | None = None) -> str:
    """The sequence with its residues substituted; it keeps its length.

    Raises UserError, naming the table's row when given, when a position lies outside of the sequence, holds another
    residue than the mutation's wild type, or is mutated twice.
    """
    mutations = tuple(mutations)
    _refuse_position_twice(mutations, row)
    residues = list(sequence)
    for mutation in mutations:
        if mutation.position > len(residues):
            raise UserError(
                f"{_place(row)}{mutation}: position {mutation.position} is past the end of the sequence of "
                f"{len(residues)} residues; check the numbering"
            )
        found = residues[mutation.position - 1]
        if found != mutation.wild_type:
            raise UserError(
                f"{_place(row)}{mutation}: expected {mutation.wild_type} at position {mutation.position}, "
                f"found {found}; {_numbering_hint(sequence, mutation)}"
            )
        residues[mutation.position - 1] = mutation.mutant
    return "".join(residues)


def _parse_one(part: str, row: int | None) -> Mutation:
    match = _SUBSTITUTION.fullmatch(part)
    if match is None:
        raise UserError(f"{_place(row)}{part[:40]!r} is no substitution; {_remedy(part)}")
    if int(match[2]) == 0:
        raise UserError(f"{_place(row)}{part!r}: positions count from 1; add one to each if yours count from 0")
    return Mutation(match[1], int(match[2]), match[3])


def _remedy(part: str) -> str:
    if not part:
        return "two separators stand together or one stands at an end; remove it"
    if _SUBSTITUTION.fullmatch(part.upper()):
        return f"write residues in upper case, {part.upper()}"
    if re.fullmatch(r"(p\.)?\(?[A-Z][a-z]{2}\d+([A-Z][a-z]{2}|=)\)?", part):
        return "write one-letter residues, like A23V"
    if re.search(r"del|ins|dup|fs|[-*=]", part):
        return "only substitutions like A23V are known, no deletions, insertions or stops"
    return "write residue, position and new residue, like A23V"


def _refuse_position_twice(mutations: tuple[Mutation, ...], row: int | None) -> None:
    first: dict[int, Mutation] = {}
    for mutation in mutations:
        if (earlier := first.setdefault(mutation.position, mutation)) is not mutation:
            raise UserError(
                f"{_place(row)}position {mutation.position} is mutated twice, by {earlier} and by {mutation}; keep one"
            )


def _numbering_hint(sequence: str, mutation: Mutation) -> str:
    """Point to the usual mistake, a numbering shifted by one, where the neighbours bear it out."""
    questions = {1: "does your numbering count from 0?", -1: "does the sequence lack its first residue?"}
    for shift, question in questions.items():
        position = mutation.position + shift
        if 1 <= position <= len(sequence) and sequence[position - 1] == mutation.wild_type:
            return f"it stands at {position}: {question}"
    return "check the sequence and the numbering"


def _place(row: int | None) -> str:
    return "" if row is None else f"row {row}: "
