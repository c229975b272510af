"""Filters: which proposals are kept, by length, residues, identity with the parent, and being new."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from openankh.design.proposal import Proposal
from openankh.errors import UserError


@dataclass(frozen=True)
class Filter:
    """Least and most residues, letters that none may have, least and most identity with the parent, each once.

    `unique` also leaves out what is the parent itself. Raises UserError for limits that nothing can keep.
    """

    min_length: int = 0
    max_length: int | None = None
    without: str = ""
    min_identity: float = 0.0
    max_identity: float = 1.0
    unique: bool = False

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < max(self.min_length, 1):
            raise UserError(f"--max-length {self.max_length}: less than --min-length {self.min_length}")
        if not 0 <= self.min_identity <= self.max_identity <= 1:
            raise UserError(
                f"--min-identity {self.min_identity:g} and --max-identity {self.max_identity:g}: give two shares, "
                "from 0 to 1, the smaller first"
            )
        if unknown := sorted(set(self.without) - set("ACDEFGHIKLMNPQRSTVWYXBOUZJ")):
            raise UserError(f"--without: {unknown[0]!r} is no residue")

    @property
    def judges_identity(self) -> bool:
        """Whether identities have to be known."""
        return self.min_identity > 0 or self.max_identity < 1


@dataclass
class Filtering:
    """A filter at work; `dropped` counts by reason what it left out."""

    filter: Filter
    dropped: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    def of(self, proposals: Iterable[Proposal]) -> Iterator[Proposal]:
        """Those that are kept."""
        for proposal in proposals:
            reason = self._reason(proposal)
            if reason:
                self.dropped[reason] += 1
            else:
                self._seen.add(proposal.sequence)
                yield proposal

    def _reason(self, proposal: Proposal) -> str:
        limits, sequence = self.filter, proposal.sequence
        if len(sequence) < limits.min_length:
            return "too short"
        if limits.max_length is not None and len(sequence) > limits.max_length:
            return "too long"
        if set(sequence) & set(limits.without):
            return "residues"
        if proposal.identity is not None and not limits.min_identity <= proposal.identity <= limits.max_identity:
            return "identity"
        if limits.unique and proposal.parent is not None and proposal.parent.sequence == sequence:
            return "the parent itself"
        return "seen before" if limits.unique and sequence in self._seen else ""
