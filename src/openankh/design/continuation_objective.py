"""The objective of a family: the encoder reads the first residues of a member, the decoder writes the rest.

N residues of B proteins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.fasta import Record
from openankh.objectives import Continuation, Objective
from openankh.packed import Packed
from openankh.packing import shift_right
from openankh.pretraining.pairs import PackedPairs
from openankh.vocab import PAD, Vocab


@dataclass(frozen=True)
class BehindPrompt:
    """Hide all residues behind the first `num_shown`."""

    num_shown: int

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        """True for each hidden residue, (N,); nothing is drawn."""
        return residues.places >= self.num_shown


@dataclass(frozen=True)
class FamilyObjective:
    """Members become pairs of a prompt of `prompt` residues and what follows it, up to `length` residues in all."""

    vocab: Vocab
    prompt: int
    length: int

    def pairs(self, members: Sequence[Record]) -> PackedPairs:
        """What encoder and decoder read and write; a member that was cut does not teach where to end."""
        ordered = sorted(members, key=lambda member: len(member.sequence))  # equals side by side: attended together
        residues = Packed.join([self.vocab.encode(member.sequence[: self.length]) for member in ordered])
        objective = Objective("continuation", BehindPrompt(self.prompt), Continuation(), prefix="[S2S]")
        shown = objective.examples(residues, self.vocab, np.random.default_rng(0))
        was_cut = np.array([len(member.sequence) > self.length for member in ordered])
        targets = Packed(shown.targets.ids.copy(), shown.targets.offsets)
        decoder_inputs = shift_right(targets)
        targets.ids[targets.offsets[1:][was_cut] - 1] = PAD  # which counts nothing
        return PackedPairs(shown.inputs, decoder_inputs, targets)
