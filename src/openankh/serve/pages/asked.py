"""What a visitor asks: the FASTA text and options of the form, checked; the same question has the same name."""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from openankh.dossier.dossier import VERSION
from openankh.dossier.options import DossierOptions
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record

MOST_PROTEINS, MOST_RESIDUES, MOST_TOGETHER = 1_000, 5_000, 300_000
NO_NAME = "protein"
"""What a sequence pasted without a header is called."""
_LINE = re.compile(r"\bline (\d+)")


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
    if not _is_bare(fasta):
        return Asked(fasta, options, _records(fasta, letters))
    text = f">{NO_NAME}\n{fasta}"
    try:
        return Asked(text, options, _records(text, letters))
    except UserError as error:  # told of the lines as they were pasted
        raise UserError(_LINE.sub(lambda found: f"line {int(found[1]) - 1}", str(error), count=1)) from None


def _records(text: str, letters: str) -> tuple[Record, ...]:
    stream = _NamedText(text.encode("utf-8", "surrogateescape"))
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
    return tuple(records)


def _is_bare(fasta: str) -> bool:
    """Whether a sequence was pasted alone: letters and line ends, a final * perhaps, and no header."""
    return all(word.isascii() and word.isalpha() for word in fasta.strip().removesuffix("*").split())
