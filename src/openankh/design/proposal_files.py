"""Proposals on disk: FASTA whose headers tell how each was made, and the same as a table."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from openankh.design.proposal import Proposal
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.mutation import WILD_TYPE

COLUMNS = (
    "id",
    "sequence",
    "length",
    "parent",
    "kept",
    "mutations",
    "num_mutations",
    "identity",
    "mean_log_prob",
    "score",
    "score_name",
    "ended",
    "verb",
    "method",
    "temperature",
    "seed",
    "screen_hit",
    "screen_identity",
    "model",
)
"""Of the table."""

_TABLE_ONLY = ("id", "sequence", "num_mutations", "verb")
_LINE = 60


def fasta_of(proposal: Proposal) -> str:
    """A FASTA record; the header's words are those of the table that have a value, written `name=value`."""
    cells = dict(zip(COLUMNS, row_of(proposal), strict=True))
    facts = (f"{name}={'_'.join(cell.split())}" for name, cell in cells.items() if cell and name not in _TABLE_ONLY)
    lines = [proposal.sequence[at : at + _LINE] for at in range(0, len(proposal.sequence), _LINE)]
    return "\n".join([" ".join([f">{cells['id']}", *facts]), *lines, ""])


def facts_of(proposal: Proposal) -> dict[str, str | int | float | None]:
    """Everything that is told of a proposal, by the names of the table's columns."""
    making, hit, mutations = proposal.making, proposal.hit, proposal.mutations
    values = (
        proposal.id,
        proposal.sequence,
        len(proposal.sequence),
        proposal.parent.id if proposal.parent else None,
        proposal.kept,
        mutations,
        None if mutations is None else 0 if mutations == WILD_TYPE else mutations.count(":") + 1,
        proposal.identity,
        proposal.mean_log_prob,
        proposal.score,
        making.score or None,
        None if proposal.ended is None else ("yes" if proposal.ended else "no"),
        making.verb,
        making.method,
        making.temperature,
        making.seed,
        hit.id if hit else None,
        hit.identity if hit else None,
        making.model,
    )
    return dict(zip(COLUMNS, values, strict=True))


def row_of(proposal: Proposal) -> list[str]:
    """The cells of the table, empty where nothing is known."""
    return [_text(value) for value in facts_of(proposal).values()]


def table_of(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_proposals(proposals: Sequence[Proposal], fasta: Path, table: Path) -> None:
    """Both files, each whole or not at all, the FASTA last."""
    write_file_atomically(table, table_of([COLUMNS, *map(row_of, proposals)]))
    write_file_atomically(fasta, "".join(map(fasta_of, proposals)))


def check_new_file(name: str, overwrite: bool) -> Path:
    """The path of a file that may be written; UserError where something stands there or cannot."""
    path = Path(name)
    if path.suffix.lower() in (".gz", ".xz", ".bz2", ".zst"):
        raise UserError(f"{name}: is written plain; leave out {path.suffix}, and compress it afterwards")
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


def _text(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value + 0.0:.6g}" if isinstance(value, float) else str(value)
