"""A proposal: a designed protein, and all that is told of how it was made."""

from dataclasses import dataclass, replace

from openankh.fasta import Record
from openankh.mutation import Mutation, format_mutations


@dataclass(frozen=True)
class Making:
    """How proposals were made: which verb, which method of choosing, by which model, from which seed.

    `temperature` is None where nothing is drawn; `score` names what `Proposal.score` is, "" where there is none.
    """

    verb: str
    method: str
    model: str
    seed: int | None = None
    temperature: float | None = None
    score: str = ""


@dataclass(frozen=True)
class Hit:
    """The sequence of concern that a proposal resembles most, and their identity, from 0 to 1."""

    id: str
    identity: float


@dataclass(frozen=True, eq=False)
class Proposal:
    """`id` names it in its file; `parent` is the protein that it was made from, None where there is none.

    `identity` is that with the parent, None where it was not measured; `mean_log_prob` that of the residues written, in
    nats; `kept` how many residues of the parent were given, None where they are told by the mutations.
    """

    id: str
    sequence: str
    making: Making
    parent: Record | None = None
    identity: float | None = None
    mean_log_prob: float | None = None
    score: float | None = None
    kept: int | None = None
    ended: bool | None = None
    hit: Hit | None = None

    @property
    def mutations(self) -> str | None:
        """The substitutions that make it from its parent, as `A23V:G41D`; None where the two are not aligned so."""
        if self.parent is None or self.kept is not None or len(self.parent.sequence) != len(self.sequence):
            return None
        return format_mutations(substitutions(self.sequence, self.parent.sequence))

    def with_hit(self, hit: Hit | None) -> "Proposal":
        """The same with what a screen found."""
        return replace(self, hit=hit)


def substitutions(sequence: str, parent: str) -> tuple[Mutation, ...]:
    """Where two sequences of one length differ."""
    pairs = enumerate(zip(parent, sequence, strict=True), start=1)
    return tuple(Mutation(old, position, new) for position, (old, new) in pairs if old != new)


def identity_of(sequence: str, parent: str) -> float:
    """The share of places at which two sequences of one length have the same residue."""
    return sum(a == b for a, b in zip(sequence, parent, strict=True)) / len(parent)
