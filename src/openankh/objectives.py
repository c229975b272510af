"""What a model is trained to do: which residues are hidden (a mask) and how inputs and targets show it (a
presentation).

Both are frozen values, an objective is a pair of them, and nothing here reads a global seed: the generator is an
argument. Everything works on a packed batch at once, in numpy. N residues of B proteins; H of them hidden.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.packed import Packed
from openankh.vocab import EOS, Vocab


@dataclass(frozen=True, eq=False)
class Examples:
    """Encoder `inputs` and decoder `targets` of a batch of proteins, each sequence closed by `</s>`."""

    inputs: Packed
    targets: Packed


class Mask(Protocol):
    """Decides which residues are hidden."""

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        """True for each hidden residue, (N,)."""
        ...


class Presentation(Protocol):
    """Shows a protein and its hidden residues to encoder and decoder."""

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        """Inputs and targets; UserError when the vocabulary has too few sentinels."""
        ...

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        """The proteins that inputs and targets were made from: the inverse of `show`."""
        ...


@dataclass(frozen=True)
class RandomResidues:
    """Hide single residues, uniformly at random (Ankh paper, masking; 20 % in the chosen model).

    The paper leaves open how positions are sampled. `exact` hides the same share of each protein, rounded, at least
    one residue, so that the cost of a step and the sentinels needed are known; otherwise each residue is hidden by
    its own coin.
    """

    rate: float = 0.20
    exact: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise UserError(f"the masking rate is {self.rate}, but must lie above 0 and be at most 1")

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        if not self.exact:
            return rng.random(len(residues.ids), np.float32) < self.rate
        return _hide_count(residues, self.count(residues.lengths), rng)

    def count(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many residues of proteins of these lengths are hidden, (B,), when `exact`."""
        return np.minimum(lengths, np.maximum(1, np.floor(lengths * self.rate + 0.5).astype(np.int64)))


@dataclass(frozen=True)
class PartialDemasking:
    """One sentinel for each hidden residue; the target names each sentinel, then its residue (Ankh paper, experiment
    4).

    `A B C D E F G` with C and G hidden: inputs `A B <0> D E F <1> </s>`, targets `<0> C <1> G </s>`. Visible residues
    are not reconstructed. Where hidden residues are neighbours each keeps its own sentinel in the targets too, so
    that every prediction names its place; sources that give the targets 36 % of the inputs' length at 20 % merge
    those.
    """

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        counts = _hidden_counts(residues, hidden)
        most = int(counts.max(initial=0))
        if most > vocab.num_sentinels:
            raise UserError(
                f"{most} residues of one protein are hidden, but the vocabulary has {vocab.num_sentinels} sentinels; "
                "crop proteins shorter or hide fewer"
            )
        token = np.min_scalar_type(vocab.size - 1)
        sentinels = vocab.sentinel_ids.astype(token)[_places(counts)]
        inputs = residues.ids.astype(token)
        pairs = np.stack([sentinels, inputs[hidden]], axis=1).reshape(-1)
        inputs[hidden] = sentinels
        return Examples(close(Packed(inputs, residues.offsets)), close(Packed(pairs, _offsets(2 * counts))))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        inputs, targets = open_again(examples.inputs), open_again(examples.targets)
        ids = inputs.ids.copy()
        ids[np.isin(ids, vocab.sentinel_ids)] = targets.ids[1::2]
        return Packed(ids, inputs.offsets)


@dataclass(frozen=True)
class Objective:
    """A mask and a presentation, and the prefix put in front of the inputs when the vocabulary has one (`[NLU]`)."""

    name: str = "1-gram span partial demasking"
    mask: Mask = field(default_factory=RandomResidues)
    presentation: Presentation = field(default_factory=PartialDemasking)
    prefix: str | None = "[NLU]"

    def examples(self, residues: Packed, vocab: Vocab, rng: np.random.Generator) -> Examples:
        """Hide residues of a batch and show it to encoder and decoder."""
        shown = self.presentation.show(residues, self.mask.draw(residues, rng), vocab)
        if self.prefix is None or not vocab.has_prefix(self.prefix):
            return shown
        return Examples(put_in_front(shown.inputs, vocab.prefix_id(self.prefix)), shown.targets)


def close(sequences: Packed) -> Packed:
    """Put `</s>` at the end of each sequence."""
    return _insert(sequences, sequences.offsets[1:], EOS)


def open_again(sequences: Packed) -> Packed:
    """Take the last token of each sequence away."""
    kept = np.ones(len(sequences.ids), bool)
    kept[sequences.offsets[1:] - 1] = False
    return Packed(sequences.ids[kept], sequences.offsets - np.arange(len(sequences.offsets)))


def put_in_front(sequences: Packed, token: int) -> Packed:
    """Put a token before each sequence."""
    return _insert(sequences, sequences.offsets[:-1], token)


def _insert(sequences: Packed, positions: NDArray[np.int64], token: int) -> Packed:
    """Insert one token a sequence, the b-th before packed position `positions[b]`."""
    added = np.arange(len(positions))
    ids = np.empty(len(sequences.ids) + len(positions), sequences.ids.dtype)
    old = np.ones(len(ids), bool)
    old[positions + added] = False
    ids[old] = sequences.ids
    ids[positions + added] = token
    return Packed(ids, sequences.offsets + np.arange(len(sequences.offsets)))


def _hide_count(residues: Packed, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hide exactly `counts[b]` residues of protein b: those with the smallest random keys."""
    keys = residues.owners.astype(np.uint64) << np.uint64(32)
    keys |= rng.integers(0, 2**32, len(keys), np.uint32).astype(np.uint64)
    by_key = np.argsort(keys)
    hidden = np.zeros(len(keys), bool)
    hidden[by_key[np.repeat(residues.offsets[:-1], counts) + _places(counts)]] = True
    return hidden


def _hidden_counts(residues: Packed, hidden: NDArray[np.bool_]) -> NDArray[np.int64]:
    before = np.zeros(len(hidden) + 1, np.int64)
    np.cumsum(hidden, out=before[1:])
    return np.diff(before[residues.offsets])


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _places(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … counts[0]-1, 0, 1, … counts[1]-1, …"""
    return np.arange(counts.sum()) - np.repeat(_offsets(counts)[:-1], counts)
