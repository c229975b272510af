"""Presentations: how a protein and its hidden residues are shown to encoder and decoder. N residues of B proteins."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.objectives.masks import hidden_counts, offsets_of, places
from openankh.packed import Packed
from openankh.vocab import EOS, Vocab


@dataclass(frozen=True, eq=False)
class Examples:
    """Encoder `inputs` and decoder `targets` of a batch of proteins, each sequence closed by `</s>`."""

    inputs: Packed
    targets: Packed


class Presentation(Protocol):
    """Shows a protein and its hidden residues to encoder and decoder."""

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        """Inputs and targets; UserError when the vocabulary has too few sentinels."""
        ...

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        """The proteins that inputs and targets were made from: the inverse of `show`."""
        ...


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
        counts = hidden_counts(residues, hidden)
        _require_sentinels(int(counts.max(initial=0)), vocab, "residues")
        token = np.min_scalar_type(vocab.size - 1)
        sentinels = vocab.sentinel_ids.astype(token)[places(counts)]
        inputs = residues.ids.astype(token)
        pairs = np.stack([sentinels, inputs[hidden]], axis=1).reshape(-1)
        inputs[hidden] = sentinels
        return Examples(close(Packed(inputs, residues.offsets)), close(Packed(pairs, offsets_of(2 * counts))))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        inputs, targets = open_again(examples.inputs), open_again(examples.targets)
        ids = inputs.ids.copy()
        ids[np.isin(ids, vocab.sentinel_ids)] = targets.ids[1::2]
        return Packed(ids, inputs.offsets)


@dataclass(frozen=True)
class FullReconstruction:
    """Each hidden residue becomes the first sentinel, which serves as mask token; the whole protein is the target (Ankh
    paper, experiments 0 to 2).
    """

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        whole = Packed(residues.ids.astype(np.min_scalar_type(vocab.size - 1)), residues.offsets)
        return Examples(close(_masked(whole, hidden, vocab)), close(whole))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        return open_again(examples.targets)


@dataclass(frozen=True)
class MaskedAlone:
    """As `FullReconstruction`, but only the hidden residues are the target, in order (Ankh paper, experiment 3).

    Sources do not tell whether sentinels stand between them; here none do, that being what experiment 4 adds.
    """

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        whole = Packed(residues.ids.astype(np.min_scalar_type(vocab.size - 1)), residues.offsets)
        targets = Packed(whole.ids[hidden], offsets_of(hidden_counts(residues, hidden)))
        return Examples(close(_masked(whole, hidden, vocab)), close(targets))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        inputs, targets = open_again(examples.inputs), open_again(examples.targets)
        ids = inputs.ids.copy()
        ids[ids == vocab.sentinel_ids[0]] = targets.ids
        return Packed(ids, inputs.offsets)


@dataclass(frozen=True)
class MergedSpans:
    """Each run of hidden residues becomes one sentinel; the target names each sentinel, then its run: T5's own span
    corruption (Ankh paper, experiment 6).

    `A B C D E` with B and C hidden: inputs `A <0> D E </s>`, targets `<0> B C </s>`.
    """

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        begins = hidden.copy()
        begins[1:] &= ~hidden[:-1]
        begins[residues.offsets[:-1]] = hidden[residues.offsets[:-1]]
        num_runs = hidden_counts(residues, begins)
        _require_sentinels(int(num_runs.max(initial=0)), vocab, "runs of hidden residues")
        sentinels = vocab.sentinel_ids.astype(np.min_scalar_type(vocab.size - 1))[places(num_runs)]
        ids = residues.ids.astype(sentinels.dtype)
        inputs = ids.copy()
        inputs[begins] = sentinels
        shown = ~hidden | begins
        kept = Packed(inputs[shown], offsets_of(hidden_counts(residues, shown)))
        written = np.insert(ids[hidden], np.flatnonzero(begins[hidden]), sentinels)
        return Examples(close(kept), close(Packed(written, offsets_of(hidden_counts(residues, hidden) + num_runs))))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        inputs, targets = open_again(examples.inputs), open_again(examples.targets)
        at_input, at_target = (np.isin(side.ids, vocab.sentinel_ids) for side in (inputs, targets))
        # Every token of the inputs stands for itself, a sentinel for its run.
        run_ends = np.append(np.flatnonzero(at_target)[1:], len(targets.ids))
        run_lengths = run_ends - np.flatnonzero(at_target) - 1
        num_residues = np.ones(len(inputs.ids), np.int64)
        num_residues[at_input] = run_lengths
        ids = np.repeat(inputs.ids, num_residues)
        ids[np.repeat(at_input, num_residues)] = targets.ids[~at_target]
        return Packed(ids, offsets_of(np.add.reduceat(num_residues, inputs.offsets[:-1])))


@dataclass(frozen=True)
class Continuation:
    """The encoder reads what is shown, the decoder writes what is hidden (Ankh3 paper, sequence completion).

    Made for masks that hide a protein's end: `A B C D E` cut after C gives inputs `A B C </s>`, targets `D E </s>`.
    """

    def show(self, residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Examples:
        counts = hidden_counts(residues, hidden)
        ids = residues.ids.astype(np.min_scalar_type(vocab.size - 1))
        shown = Packed(ids[~hidden], offsets_of(residues.lengths - counts))
        return Examples(close(shown), close(Packed(ids[hidden], offsets_of(counts))))

    def restore(self, examples: Examples, vocab: Vocab) -> Packed:
        inputs, targets = open_again(examples.inputs), open_again(examples.targets)
        return Packed.join([np.concatenate(parts) for parts in zip(inputs, targets, strict=True)])


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


def has_sentinel_each(examples: Examples, vocab: Vocab) -> bool:
    """Whether the inputs hold one sentinel for each residue of the targets, or none at all."""
    num_sentinels = np.isin(examples.inputs.ids, vocab.sentinel_ids).sum()
    return num_sentinels in (0, np.isin(examples.targets.ids, vocab.residue_ids).sum())


def _masked(residues: Packed, hidden: NDArray[np.bool_], vocab: Vocab) -> Packed:
    """The residues, each hidden one replaced by the first sentinel."""
    return Packed(np.where(hidden, vocab.sentinel_ids[0].astype(residues.ids.dtype), residues.ids), residues.offsets)


def _require_sentinels(most: int, vocab: Vocab, what: str) -> None:
    if most > vocab.num_sentinels:
        raise UserError(
            f"{most} {what} of one protein are hidden, but the vocabulary has {vocab.num_sentinels} sentinels; "
            "crop proteins shorter or hide fewer"
        )
