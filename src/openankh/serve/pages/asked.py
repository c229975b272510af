"""What a visitor asks: the FASTA text and options of the form, checked; the same question has the same name."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from openankh.dossier.dossier import VERSION
from openankh.dossier.options import DossierOptions
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record

MOST_PROTEINS, MOST_RESIDUES, MOST_TOGETHER = 1_000, 5_000, 300_000
NO_NAME = "protein"
"""What a sequence pasted without a header is called."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A question: `fasta` is the text as given, `records` what was read of it."""

    fasta: str
    options: DossierOptions
    records: Sequence[Record]

    def id_for(self, *answering: str) -> str:
        """The name of its result: a hash over the proteins, the options and what answers."""
        facts = [VERSION, asdict(self.options), answering, [[r.id, r.description, r.sequence] for r in self.records]]
        return hashlib.sha256(json.dumps(facts, ensure_ascii=True).encode()).hexdigest()[:24]


class _NamedText(io.BytesIO):
    """A text that messages call `FASTA`."""

    name = "FASTA"


def asked(fasta: str, options: DossierOptions, letters: str) -> Asked:
    """Check a question. Raises UserError in one line, with line and column where there is a place."""
    if not fasta.strip():
        raise UserError("FASTA: is empty; paste proteins, drop a file here, or take an example")
    text = _with_header(fasta, letters)
    stream = _NamedText(text.encode("utf-8", "surrogatepass"))
    records: list[Record] = []
    total = 0
    for record in FastaReader(stream, ReadOptions(letters, max_residues=MOST_RESIDUES)):
        records.append(record)
        total += len(record.sequence)
        if len(records) > MOST_PROTEINS:
            raise UserError(
                f"FASTA, line {record.line}: more than {MOST_PROTEINS:,} proteins; the command line takes any number"
            )
    if total > MOST_TOGETHER:
        raise UserError(f"FASTA: {total:,} residues together, and {MOST_TOGETHER:,} are the most here; ask in parts")
    return Asked(text, options, tuple(records))


def _with_header(fasta: str, letters: str) -> str:
    """A sequence that was pasted alone gets a header; all else stays as it is."""
    residues = "".join(fasta.split())
    if ">" not in fasta and set(residues.upper().removesuffix("*")) <= set(letters):
        return f">{NO_NAME}\n{residues}\n"
    return fasta
