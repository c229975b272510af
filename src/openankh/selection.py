"""Which records of a FASTA file become part of a corpus, and in which split, told from their headers."""

import hashlib
import re
from dataclasses import dataclass, replace

from openankh.decompression import printable
from openankh.errors import UserError
from openankh.fasta import Record


@dataclass(frozen=True)
class Selection:
    """The records to keep.

    `keep_word`: a word the header must carry after the id. `min_length`: residues. `holdout`: the fraction of clusters
    (0 to below 1) put aside for validation, chosen by a hash of the cluster's name, the value of `cluster_word=` in the
    header; so a cluster is never on both sides, whatever the files or their order. Without `cluster_word` a sequence is
    its own cluster: copies stay on one side, relatives do not. Raises UserError for values that cannot be meant.
    """

    keep_word: str | None = None
    min_length: int = 1
    holdout: float = 0.0
    cluster_word: str | None = None

    def __post_init__(self) -> None:
        for option, word in (("--keep-word", self.keep_word), ("--cluster-word", self.cluster_word)):
            if word is not None and not re.fullmatch(r"\S+", word):
                raise UserError(f"{option} {word!r}: give one word of the header, without spaces")
        if self.cluster_word is not None and "=" in self.cluster_word:
            raise UserError(f"--cluster-word {self.cluster_word}: give the word before the '=', such as c50")
        if self.cluster_word is not None and not self.holdout:
            raise UserError("--cluster-word tells how to hold records out; give --holdout FRACTION with it")
        if self.min_length < 1:
            raise UserError(f"--min-length {self.min_length}: give a number of residues from 1 on")
        if not 0 <= self.holdout < 1:
            raise UserError(f"--holdout {self.holdout}: give a fraction from 0 to below 1, such as 0.005")

    @property
    def of_ready_split(self) -> "Selection":
        """What applies to a file that is a split already: the length alone."""
        return replace(self, keep_word=None, holdout=0.0, cluster_word=None)

    def has_word(self, record: Record) -> bool:
        """Whether the header carries the wanted word (true when none is wanted)."""
        return self.keep_word is None or self.keep_word in record.description.split()

    def is_held_out(self, record: Record, source_name: str) -> bool:
        """Whether the record belongs to validation; UserError when its header names no cluster."""
        if not self.holdout:
            return False
        cluster = record.sequence if self.cluster_word is None else self._cluster_of(record, source_name)
        digest = hashlib.blake2b(cluster.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.holdout * 2**64

    def _cluster_of(self, record: Record, source_name: str) -> str:
        start = f"{self.cluster_word}="
        for word in record.description.split():
            if word.startswith(start) and len(word) > len(start):
                return word[len(start) :]
        raise UserError(
            f"{source_name}, line {record.line}: no {start}CLUSTER in the header of record {printable(record.id)}; "
            "name the word that tells the cluster with --cluster-word, or leave --cluster-word out"
        )


def word_of_representatives(level: str) -> str:
    """The header word of representatives of a clustering: `rep50` for `c50`; UserError for another form."""
    if not (match := re.fullmatch(r"c(\d+)", level)):
        raise UserError(f"--representatives {level}: give a clustering such as c50 or c90, or use --keep-word WORD")
    return f"rep{match[1]}"
