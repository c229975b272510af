"""A first reading of the input: every record checked before the model runs, the total counted, the contents hashed."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openankh.fasta import Record


@dataclass(frozen=True)
class Survey:
    """What an input holds: proteins, residues, the longest, and a hash over ids and sequences in order."""

    num_records: int
    num_residues: int
    longest: int
    sha256: str


class InputDigest:
    """Hashes and counts the records that pass through; the hash is the same however the file was wrapped or packed."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._num_records = self._num_residues = self._longest = 0

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, each taken into account as it goes by."""
        for record in records:
            length = len(record.sequence)
            self._num_records += 1
            self._num_residues += length
            self._longest = max(self._longest, length)
            self._hash.update(f"{record.id}\n{record.sequence}\n".encode("utf-8", "surrogatepass"))
            yield record

    def survey(self) -> Survey:
        """What has gone by so far."""
        return Survey(self._num_records, self._num_residues, self._longest, self._hash.hexdigest())


def survey(records: Iterable[Record]) -> Survey:
    """Read all records and say what they are; raises what reading them raises."""
    digest = InputDigest()
    for _ in digest.passing(records):
        pass
    return digest.survey()
