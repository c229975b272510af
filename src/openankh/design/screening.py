"""Screening: proposals compared with sequences of concern that the user supplies, hits reported or dropped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from openankh.design.alignment import local_identity, require_alignment
from openankh.design.proposal import Hit, Proposal
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record

Action = Literal["report", "drop"]
THRESHOLD = 0.5
"""Identity from which on a sequence counts as a hit, unless told."""


@dataclass(frozen=True, eq=False)
class Screen:
    """Sequences of concern, the identity from which on something is a hit, and what becomes of hits."""

    concerns: tuple[Record, ...]
    threshold: float = THRESHOLD
    action: Action = "report"

    @classmethod
    def read(cls, source: str, threshold: float = THRESHOLD, action: Action = "report") -> "Screen":
        """Read the sequences of a FASTA file; UserError for one without any, or where nothing can be aligned."""
        if not 0 < threshold <= 1:
            raise UserError(f"--screen-threshold {threshold:g}: give an identity above 0, at most 1, as 0.5")
        require_alignment("--screen")
        return cls(tuple(FastaReader(source, ReadOptions(unknown="x"))), threshold, action)

    def hit(self, sequence: str) -> Hit | None:
        """The sequence of concern that this one is most like, if it is as like as the threshold."""
        found = ((local_identity(sequence, concern.sequence), concern.id) for concern in self.concerns)
        identity, name = max(found, key=lambda pair: pair[0])
        return Hit(name, identity) if identity >= self.threshold else None


@dataclass
class Screening:
    """A screen at work; it counts what it saw, so that nothing is dropped in silence. Without a screen all passes."""

    screen: Screen | None = None
    num_seen: int = 0
    num_hits: int = 0

    def of(self, proposals: Iterable[Proposal]) -> Iterator[Proposal]:
        """The proposals that are kept, each with its hit."""
        for proposal in proposals:
            hit = self.seen(proposal.sequence)
            if self.keeps(hit):
                yield proposal.with_hit(hit)

    def seen(self, sequence: str) -> Hit | None:
        """What the screen finds in one more sequence."""
        self.num_seen += 1
        hit = self.screen.hit(sequence) if self.screen else None
        self.num_hits += hit is not None
        return hit

    def keeps(self, hit: Hit | None) -> bool:
        """Whether something with such a hit is written."""
        return hit is None or self.screen is None or self.screen.action == "report"

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.screen is None:
            return ""
        done = "were left out" if self.screen.action == "drop" else "are marked in their headers"
        return (
            f"screen: {self.num_hits:,} of {self.num_seen:,} proteins are at least "
            f"{self.screen.threshold:.0%} identical to one of {len(self.screen.concerns):,} sequences of concern"
            + (f"; they {done}" if self.num_hits else "")
        )
