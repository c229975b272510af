"""What a column of labels holds, found by looking at all of it: classes, numbers, several labels, letters a residue."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from openankh.decompression import printable
from openankh.errors import UserError
from openankh.tasks.row import Row
from openankh.tasks.task import MetricName, Target, Unit

Kind = Literal["auto", "classes", "number", "labels", "residues"]
KINDS: tuple[Kind, ...] = ("auto", "classes", "number", "labels", "residues")
SEPARATORS = ("|", ";")
MOST_WHOLE_NUMBERS = 10
"""So few different whole numbers are names of classes; more are measurements."""


@dataclass(frozen=True)
class Recognised:
    """What the labels are; `why` says it in words, with what else they could have been."""

    unit: Unit
    target: Target
    metrics: tuple[MetricName, ...]
    separator: str
    why: str


def recognise(rows: Sequence[Row], kind: Kind = "auto") -> Recognised:
    """What the labels of rows are, or are to be; UserError naming the row of a label that fits no kind."""
    if kind not in KINDS:
        raise UserError(f"kind {kind!r}: not one of {', '.join(KINDS)}")
    empty = next((row for row in rows if not row.label), None)
    if empty is not None and kind not in ("labels",):
        raise UserError(f"{empty.place}: has no label; add it or remove the row")
    labels = [row.label for row in rows]
    if kind == "residues" or (kind == "auto" and _is_mostly_strings(rows)):
        return Recognised("residue", "classes", ("accuracy", "mcc"), "|", "one letter a residue")
    if kind == "number":
        return Recognised("protein", "number", ("spearman",), "|", "numbers")
    if kind == "auto" and (found := _numeric(rows)) is not None:
        return found
    separator = next((mark for mark in SEPARATORS if any(mark in label for label in labels)), "")
    if kind == "labels" or (kind == "auto" and separator):
        why = f"several labels a protein, joined by {separator or '|'!r}"
        return Recognised("protein", "labels", ("f1", "mcc", "auc"), separator or "|", why)
    _require_few(rows)
    return Recognised("protein", "classes", ("accuracy", "mcc"), "|", "classes")


def _is_mostly_strings(rows: Sequence[Row]) -> bool:
    """Whether at least half of the labels have a letter for each residue: the others are then mistakes."""
    fitting = sum(len(row.label) == len(row.sequence) > 1 for row in rows)
    return 2 * fitting >= len(rows) > 0


def _numeric(rows: Sequence[Row]) -> Recognised | None:
    """Numbers, or classes named by whole numbers; None where most labels are no numbers."""
    wrong = [row for row in rows if not is_number(row.label)]
    if 2 * len(wrong) > len(rows) or len(wrong) == len(rows):
        return None
    if wrong:
        raise UserError(
            f"{wrong[0].place}: label {printable(wrong[0].label)!r} is no number, as {len(rows) - len(wrong):,} others "
            "are; mend or remove the row, or say that labels are classes"
        )
    different = {row.label for row in rows}
    values = {float(label) for label in different}
    if all(value.is_integer() for value in values) and len(values) == len(different) <= MOST_WHOLE_NUMBERS:
        shown = ", ".join(sorted(different, key=float))
        why = f"classes, named by the numbers {shown} (say kind number to have them measured as numbers)"
        return Recognised("protein", "classes", ("accuracy", "mcc"), "|", why)
    return Recognised("protein", "number", ("spearman",), "|", "numbers")


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _require_few(rows: Sequence[Row]) -> None:
    counts = Counter(row.label for row in rows)
    if len(rows) > 10 and 2 * len(counts) > len(rows):
        raise UserError(
            f"{rows[0].table}: {len(counts):,} different labels in {len(rows):,} rows are no classes; name the column "
            "that holds the labels"
        )
