"""A variant: a changed protein, written as `A23V:G41D`, as `K30del` and the like, or as its whole sequence."""

import re
from dataclasses import dataclass
from itertools import pairwise

from openankh.errors import UserError
from openankh.mutation import WILD_TYPE, Mutation, apply, format_mutations, parse_mutations
from openankh.vocab import Vocab

_SEPARATORS = re.compile(r"\s*[:,;/+]\s*|\s+")
_RANGE = r"([A-Z])([0-9]{1,9})(?:_([A-Z])([0-9]{1,9}))?"
_DELETION = re.compile(_RANGE + r"del(?:ins([A-Z]+))?")
_DUPLICATION = re.compile(_RANGE + r"dup")
_INSERTION = re.compile(r"([A-Z])([0-9]{1,9})_([A-Z])([0-9]{1,9})ins([A-Z]+)")
_CHANGES_LENGTH = re.compile(r"del|ins|dup")


@dataclass(frozen=True, slots=True)
class Variant:
    """A changed protein: how its user wrote it, its whole sequence, and its substitutions.

    `mutations` is None where residues were inserted or deleted, so that positions no longer match. `row` is the line of
    the table it stands in, for messages.
    """

    name: str
    sequence: str
    mutations: tuple[Mutation, ...] | None
    row: int | None = None

    @property
    def place(self) -> str:
        """How a message about it begins."""
        return f"{'' if self.row is None else f'row {self.row}: '}{self.name[:60]}: "


@dataclass(frozen=True, slots=True)
class _Edit:
    """Residues `start` to `end` of the wild type, from 0 and without the end, become `residues`."""

    start: int
    end: int
    residues: str


def parse_variant(text: str, wild_type: str, row: int | None = None) -> Variant:
    """Read `A23V:G41D`, `WT`, and changes of length.

    Those are `K23del`, `K23_L25del`, `K23_L24insGS`, `K23_L25delinsA` and `K23dup`, also beside substitutions.
    Positions count from 1 in the wild type. Raises UserError naming the row where given, the position, and the residues
    expected and found.
    """
    text = text.strip()
    if not _CHANGES_LENGTH.search(text):
        mutations = parse_mutations(text, row)
        return Variant(text or WILD_TYPE, apply(wild_type, mutations, row), mutations, row)
    edits = sorted(
        (_edit(part, wild_type, row) for part in _SEPARATORS.split(text)), key=lambda edit: (edit.start, edit.end)
    )
    for before, after in pairwise(edits):
        if after.start < before.end or after == before:
            raise UserError(f"{_place(row)}{text[:60]}: two of its changes overlap; write them as one")
    sequence = wild_type
    for edit in reversed(edits):
        sequence = sequence[: edit.start] + edit.residues + sequence[edit.end :]
    return variant_of_sequence(sequence, wild_type, row, name=text)


def variant_of_sequence(sequence: str, wild_type: str, row: int | None = None, name: str = "") -> Variant:
    """The variant that has this sequence; its substitutions where it is as long as the wild type."""
    sequence = sequence.strip().upper()
    if not sequence:
        before = f"{_place(row)}{name[:60]}: " if name else _place(row)
        raise UserError(f"{before}no residues are left; a variant needs at least one")
    if len(sequence) != len(wild_type):
        return Variant(name or _shown_change(sequence, wild_type), sequence, None, row)
    pairs = enumerate(zip(wild_type, sequence, strict=True), start=1)
    mutations = tuple(Mutation(old, position, new) for position, (old, new) in pairs if old != new)
    return Variant(name or format_mutations(mutations), sequence, mutations, row)


def require_residues(sequence: str, vocab: Vocab, place: str) -> None:
    """UserError for a letter that the model does not know."""
    try:
        vocab.encode(sequence)
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def common_ends(sequence: str, wild_type: str) -> tuple[int, int]:
    """How many residues the two share at their beginnings, and of the rest at their ends."""
    shorter = min(len(sequence), len(wild_type))
    pairs = zip(sequence, wild_type, strict=False)
    front = next((number for number, (a, b) in enumerate(pairs) if a != b), shorter)
    backwards = zip(reversed(sequence[front:]), reversed(wild_type[front:]), strict=False)
    return front, next((number for number, (a, b) in enumerate(backwards) if a != b), shorter - front)


def _shown_change(sequence: str, wild_type: str) -> str:
    """The change of length that turns one into the other, as `parse_variant` reads it."""
    front, back = common_ends(sequence, wild_type)
    end, new = len(wild_type) - back, sequence[front : len(sequence) - back]
    if front == end and 0 < front < len(wild_type):
        return f"{wild_type[front - 1]}{front}_{wild_type[front]}{front + 1}ins{new}"
    # Beside an end of the protein there is one neighbour only: it is told as replaced.
    if front == end == 0:
        end, new = 1, new + wild_type[0]
    elif front == end:
        front, new = front - 1, wild_type[-1] + new
    name = f"{wild_type[front]}{front + 1}" + (f"_{wild_type[end - 1]}{end}" if end > front + 1 else "")
    return name + ("delins" + new if new else "del")


def _edit(part: str, wild_type: str, row: int | None) -> _Edit:
    if not _CHANGES_LENGTH.search(part):
        (mutation,) = parse_mutations(part, row) or (None,)
        if mutation is None:
            raise UserError(f"{_place(row)}{WILD_TYPE} stands beside changes; leave it out")
        apply(wild_type, [mutation], row)
        return _Edit(mutation.position - 1, mutation.position, mutation.mutant)
    if match := _INSERTION.fullmatch(part):
        start, end = _checked_range(part, match, wild_type, row)
        if end - start != 2:
            raise UserError(f"{_place(row)}{part[:60]}: an insertion stands between neighbours, as in K23_L24insGS")
        return _Edit(start + 1, start + 1, match[5])
    if match := _DELETION.fullmatch(part):
        return _Edit(*_checked_range(part, match, wild_type, row), match[5] or "")
    if match := _DUPLICATION.fullmatch(part):
        start, end = _checked_range(part, match, wild_type, row)
        return _Edit(end, end, wild_type[start:end])
    raise UserError(
        f"{_place(row)}{part[:60]!r}: no change that is known; write A23V, K23del, K23_L25del, K23_L24insGS, "
        "K23_L25delinsA or K23dup"
    )


def _checked_range(part: str, match: re.Match[str], wild_type: str, row: int | None) -> tuple[int, int]:
    """Where the residues named begin (from 0) and end; the first and the last must be what the wild type has."""
    first, last = int(match[2]), int(match[4] or match[2])
    if first == 0 or last < first:
        raise UserError(f"{_place(row)}{part[:60]}: positions count from 1, the smaller one first")
    named = [(match[1], first), (match[3] or match[1], last)]
    try:
        apply(wild_type, {Mutation(letter, position, letter) for letter, position in named}, row)
    except UserError as error:
        raise UserError(f"{error} (in {part[:60]})") from None
    return first - 1, last


def _place(row: int | None) -> str:
    return "" if row is None else f"row {row}: "
