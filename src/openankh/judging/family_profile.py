"""The profile of a family: a hidden Markov model built by HMMER (through pyhmmer) from its sequences alone.

One sequence, typical by its length and its words, becomes a profile by BLOSUM62; the others are aligned to it and make
the next profile, twice over. N proteins, C columns (match states).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openankh.judging.likeness import typical

if TYPE_CHECKING:
    from pyhmmer.easel import Alphabet, DigitalMSA, DigitalSequenceBlock
    from pyhmmer.plan7 import HMM, Background, Builder

ROUNDS = 2
SEARCHED = 10_000
"""E-values are those of a search among so many proteins, so that they compare between sets, families and runs."""

_REPORTED = 1e30
"""An E-value that keeps every protein in the results."""


@dataclass(frozen=True)
class ProfileScore:
    """How well a protein fits the profile: HMMER's bit score and E-value; minus infinity where nothing was aligned."""

    bits: float
    e_value: float


_NOTHING = ProfileScore(float("-inf"), float("inf"))


@dataclass(frozen=True, eq=False)
class FamilyProfile:
    """A profile, how many proteins it was built from, and the place of the one it began with."""

    hmm: "HMM"
    num_proteins: int
    seed_place: int

    @classmethod
    def build(cls, sequences: Sequence[str], rounds: int = ROUNDS) -> "FamilyProfile":
        """Build it from proteins that need not be aligned; the same from the same proteins."""
        from pyhmmer.plan7 import Background, Builder

        alphabet = _amino()
        builder, background = Builder(alphabet, seed=42), Background(alphabet)
        block, seed_place = _block(sequences), typical(sequences)
        hmm, _, _ = builder.build(block[seed_place], background)
        for _ in range(rounds):
            hmm = _next(_alignment(hmm, block), builder, background)
        hmm.creation_time = None  # the same proteins make the same file
        return cls(hmm, len(sequences), seed_place)

    @property
    def num_columns(self) -> int:
        """Match states."""
        return self.hmm.M

    @property
    def consensus(self) -> str:
        """The profile's most likely residues, small letters where it is not sure."""
        return self.hmm.consensus or ""

    def scores(self, sequences: Sequence[str]) -> list[ProfileScore]:
        """Of every protein, by the full forward algorithm: no filter throws one out before."""
        from pyhmmer.plan7 import Pipeline

        pipeline = Pipeline(
            _amino(),
            background=None,
            bias_filter=False,
            F1=1.0, F2=1.0, F3=1.0,
            Z=SEARCHED, domZ=1, E=_REPORTED, domE=_REPORTED,
            seed=42,
        )  # fmt: skip
        found = [_NOTHING] * len(sequences)
        for hit in pipeline.search_hmm(self.hmm, _block(sequences)):
            found[int(hit.name)] = ProfileScore(hit.score, hit.evalue)
        return found

    def bits_at(self, e_value: float) -> float:
        """The bit score at which a protein has this E-value: scores of others fall off exponentially."""
        tau, rate = self.hmm.evalue_parameters.f_tau, self.hmm.evalue_parameters.f_lambda
        assert tau is not None and rate is not None
        return tau - float(np.log(e_value / SEARCHED)) / rate

    def aligned(self, sequences: Sequence[str]) -> NDArray[np.uint8]:
        """Amino acids (0 to 19, by their letters) at the match states, (N, C); more than 19 is a gap or none."""
        parts = []
        for first in range(0, len(sequences), _ALIGNED_AT_ONCE):  # insertions of all of them are columns, too
            block = _block(sequences[first : first + _ALIGNED_AT_ONCE])
            parts.append(_match_columns(_alignment(self.hmm, block)))
        return np.concatenate(parts) if parts else np.zeros((0, self.num_columns), np.uint8)

    @cached_property
    def text(self) -> str:
        """The profile as a HMMER3 file."""
        from io import BytesIO

        file = BytesIO()
        self.hmm.write(file)
        return file.getvalue().decode("ascii")


_ALIGNED_AT_ONCE = 500


@cache
def _amino() -> "Alphabet":
    """One alphabet for all: a profile keeps a bare pointer to that of the alignment it was built from."""
    from pyhmmer.easel import Alphabet

    return Alphabet.amino()


def _alignment(hmm: "HMM", block: "DigitalSequenceBlock") -> "DigitalMSA":
    """Proteins aligned to a profile, all its columns kept, what hangs over its ends cut off."""
    from pyhmmer.easel import DigitalMSA
    from pyhmmer.hmmer import hmmalign

    msa = hmmalign(hmm, block, digitize=True, trim=True, all_consensus_cols=True, cpus=1)
    assert isinstance(msa, DigitalMSA)
    return msa


def _next(msa: "DigitalMSA", builder: "Builder", background: "Background") -> "HMM":
    msa.name = "family"
    return builder.build_msa(msa, background)[0]


def _match_columns(msa: "DigitalMSA") -> NDArray[np.uint8]:
    reference = msa.reference
    assert reference is not None
    is_match_A = np.frombuffer(reference.encode("ascii"), np.uint8) != ord(".")
    return np.array([np.frombuffer(bytes(row), np.uint8) for row in msa.alignment])[:, is_match_A]


def _block(sequences: Sequence[str]) -> "DigitalSequenceBlock":
    """Named by their places."""
    from pyhmmer.easel import DigitalSequenceBlock, TextSequence

    alphabet = _amino()
    texts = (TextSequence(name=str(place), sequence=sequence) for place, sequence in enumerate(sequences))
    return DigitalSequenceBlock(alphabet, [text.digitize(alphabet) for text in texts])
