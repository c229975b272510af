"""Prompts: the first residues of natural members, behind which proposals are written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from openankh.errors import UserError
from openankh.fasta import Record


@dataclass(frozen=True)
class Prompt:
    """The first residues of a member, and the round in which they serve: each round draws anew."""

    parent: Record
    residues: str
    round: int


def prompts(members: Sequence[Record], num_residues: int, num: int, seed: int) -> Iterator[Prompt]:
    """`num` prompts of different members as far as there are any, in a random order; then all again, and again.

    Equal beginnings count once a round, for what follows equal ones would be equal.
    """
    different = {member.sequence[:num_residues]: member for member in reversed(members)}
    if not different:
        raise UserError("no member is left for prompts; raise --holdout, or give --prompts learned")
    names = sorted(different)
    for number in range(num):
        turn, place = divmod(number, len(names))
        order = np.random.default_rng((seed, turn)).permutation(len(names))
        residues = names[order[place]]
        yield Prompt(different[residues], residues, turn)
