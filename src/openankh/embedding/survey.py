"""A first reading of the input: every record checked before the model runs, the total counted, the contents hashed."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from openankh.fasta import Record

MAX_TOLD_APART = 1 << 22
"""Records up to which it is found out which sequences come again; that takes 12 bytes each, and at the end some 40."""


@dataclass(frozen=True)
class Repeats:
    """The sequences that come more than once: their hashes (of this process), and how many records and residues need
    not be computed since their sequence came before.
    """

    hashes: frozenset[int]
    num_records: int
    num_residues: int


@dataclass(frozen=True)
class Survey:
    """What an input holds: proteins, residues, the longest, a hash over ids and sequences in order, and its repeats,
    None where they were not looked for or there are more than MAX_TOLD_APART records.
    """

    num_records: int
    num_residues: int
    longest: int
    sha256: str
    repeats: Repeats | None = field(default=None, compare=False)


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


class RepeatFinder:
    """Finds out which sequences of the records that pass through come again."""

    def __init__(self, max_records: int = MAX_TOLD_APART) -> None:
        self._max_records = max_records
        self._hashes = array("q")
        self._lengths = array("I")

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, each taken into account as it goes by."""
        for record in records:
            if len(self._hashes) <= self._max_records:
                self._hashes.append(hash(record.sequence))
                self._lengths.append(len(record.sequence))
            yield record

    def repeats(self) -> Repeats | None:
        """What was found; None when there were too many records."""
        if len(self._hashes) > self._max_records:
            return None
        hashes, lengths = np.array(self._hashes), np.array(self._lengths)
        different, firsts, counts = np.unique(hashes, return_index=True, return_counts=True)
        num_residues = int(lengths.sum()) - int(lengths[firsts].sum())
        return Repeats(frozenset(different[counts > 1].tolist()), len(hashes) - len(different), num_residues)


def survey(records: Iterable[Record]) -> Survey:
    """Read all records and say what they are; raises what reading them raises."""
    digest, finder = InputDigest(), RepeatFinder()
    for _ in finder.passing(digest.passing(records)):
        pass
    return replace(digest.survey(), repeats=finder.repeats())
