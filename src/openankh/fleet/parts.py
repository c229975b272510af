"""Parts of an input: runs of consecutive records, each of which becomes one shard of the store."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from openankh.embedding.shards import shards_of
from openankh.embedding.survey import InputDigest, Survey
from openankh.errors import UserError
from openankh.fasta import FastaReader, Record
from openankh.fleet.receipts import Receipt
from openankh.store import Provenance, ShardLimits


@dataclass(frozen=True)
class Part:
    """The records of shard `number`, of which the first stands at place `first` of the input (both from 0)."""

    number: int
    first: int
    records: tuple[Record, ...]

    @property
    def num_residues(self) -> int:
        """Residues of all its records."""
        return sum(len(record.sequence) for record in self.records)

    @property
    def shown(self) -> str:
        """Its records as a person finds them in the input."""
        first, last = self.records[0], self.records[-1]
        if len(self.records) == 1:
            return f"record {first.id!r} (line {first.line})"
        return f"records {first.id!r} to {last.id!r} (lines {first.line} to {last.line})"


def cut_parts(
    records: Iterable[Record], provenance: Provenance, limits: ShardLimits, number: int = 0, first: int = 0
) -> Iterator[Part]:
    """Cut records, in order, into parts: the shards that one process would write, whatever the number of workers.

    `records` begin at place `first` of the input, with the first record of part `number`.
    """
    for shard in shards_of(records, provenance, limits):
        part = Part(number, first, tuple(shard))
        yield part
        number, first = number + 1, first + len(part.records)


@dataclass
class PartSource:
    """The parts of an input that are still to be made; a value that travels, where the input is a file.

    Parts begin with `number`, whose first record stands at place `first`; those of which `kept` has the receipt are
    left out. `survey` is what a first reading found, None for a stream; `found` is what the reading by `parts` finds.
    """

    reader: FastaReader
    provenance: Provenance
    limits: ShardLimits
    number: int = 0
    first: int = 0
    kept: Mapping[int, Receipt] = field(default_factory=dict)
    survey: Survey | None = None
    found: Survey | None = field(default=None, init=False)

    def parts(self) -> Iterator[Part]:
        """Read the input and cut it; raises UserError when it has changed since the survey, once all was read."""
        digest = InputDigest()
        records = islice(digest.passing(self.reader), self.first, None)
        for part in cut_parts(records, self.provenance, self.limits, self.number, self.first):
            receipt = self.kept.get(part.number)
            if receipt is None or not receipt.is_for(part.first, len(part.records), part.num_residues):
                yield part
        self.found = digest.survey()
        if self.survey is not None and self.survey.sha256 != self.found.sha256:
            raise UserError(f"{self.reader.name}: changed while it was being read; run again")
