"""Masks: which residues of packed proteins are hidden. N residues of B proteins; H of them hidden."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.packed import Packed


class Mask(Protocol):
    """Decides which residues are hidden."""

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        """True for each hidden residue, (N,)."""
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
        _check_rate(self.rate)

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        if not self.exact:
            return rng.random(len(residues.ids), np.float32) < self.rate
        return hide_count(residues, self.count(residues.lengths), rng)

    def count(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many residues of proteins of these lengths are hidden, (B,), when `exact`."""
        return np.minimum(lengths, np.maximum(1, np.floor(lengths * self.rate + 0.5).astype(np.int64)))


@dataclass(frozen=True)
class SeveralRates:
    """Hide single residues at a rate drawn anew for each protein, each rate equally likely (Ankh3 paper, masking).

    The sources disagree on the rates (15, 20 and 50 %, or 15, 20 and 30 %); the default is what 225 sentinels suffice
    for at 512 residues. A protein hides the rounded share, at least one residue.
    """

    rates: tuple[float, ...] = (0.15, 0.20, 0.30)

    def __post_init__(self) -> None:
        if not self.rates or not all(0 < rate <= 1 for rate in self.rates):
            raise UserError(f"the masking rates are {self.rates}, but each must lie above 0 and be at most 1")

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        lengths = residues.lengths
        drawn = rng.choice(np.asarray(self.rates), len(lengths))
        counts = np.maximum(1, np.floor(lengths * drawn + 0.5).astype(np.int64))
        return hide_count(residues, np.minimum(lengths, counts), rng)


@dataclass(frozen=True)
class DistinctResidues:
    """As `RandomResidues`, but each kind of residue in a protein is hidden at least once (Ankh paper, experiment 1).

    A protein of more kinds than its share has residues hides one of each kind.
    """

    rate: float = 0.15

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        shuffled = rng.permutation(len(residues.ids))
        kinds = residues.owners * 256 + residues.ids
        first_of_kind = np.zeros(len(kinds), bool)
        first_of_kind[shuffled[np.unique(kinds[shuffled], return_index=True)[1]]] = True
        num_kinds = hidden_counts(residues, first_of_kind)
        counts = np.maximum(RandomResidues(self.rate).count(residues.lengths), num_kinds)
        return hide_count(residues, counts, rng, first=first_of_kind)


@dataclass(frozen=True)
class NGrams:
    """Cut each protein into pieces of `length` residues, the last one shorter, and hide a share of them (Ankh paper,
    experiment 2).
    """

    length: int = 3
    rate: float = 0.15

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        if self.length < 1:
            raise UserError(f"n-grams have length {self.length}, but must have at least 1 residue")

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        num_grams = -(-residues.lengths // self.length)
        grams = Packed(np.zeros(num_grams.sum(), np.uint8), offsets_of(num_grams))
        hidden = RandomResidues(self.rate).draw(grams, rng)
        return hidden[np.repeat(grams.offsets[:-1], residues.lengths) + places(residues.lengths) // self.length]


@dataclass(frozen=True)
class Suffix:
    """Hide all residues behind a cut (Ankh3 paper, sequence completion).

    The cut lies after a share of the protein drawn evenly from `earliest` to `latest`; equal ones fix it (the paper's
    examples cut in the middle). At least one residue is hidden and, where there are two, one shown.
    """

    earliest: float = 0.5
    latest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.earliest <= self.latest < 1:
            raise UserError(
                f"the cut lies between shares {self.earliest} and {self.latest}; "
                "give two shares between 0 and 1, the earlier first"
            )

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        lengths = residues.lengths
        share = self.earliest + (self.latest - self.earliest) * rng.random(len(lengths))
        shown = np.clip(np.floor(lengths * share + 0.5).astype(np.int64), np.minimum(1, lengths - 1), lengths - 1)
        return np.arange(len(residues.ids)) >= np.repeat(residues.offsets[:-1] + shown, lengths)


def hide_count(
    residues: Packed, counts: NDArray[np.int64], rng: np.random.Generator, first: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Hide exactly `counts[b]` residues of protein b: those of `first`, then those with the smallest random keys."""
    keys = residues.owners.astype(np.uint64) << np.uint64(33)
    if first is not None:
        keys |= (~first).astype(np.uint64) << np.uint64(32)
    keys |= rng.integers(0, 2**32, len(keys), np.uint32).astype(np.uint64)
    by_key = np.argsort(keys)
    hidden = np.zeros(len(keys), bool)
    hidden[by_key[np.repeat(residues.offsets[:-1], counts) + places(counts)]] = True
    return hidden


def hidden_counts(residues: Packed, hidden: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many residues of each protein are hidden, (B,)."""
    before = np.zeros(len(hidden) + 1, np.int64)
    np.cumsum(hidden, out=before[1:])
    return np.diff(before[residues.offsets])


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where packed sequences of these lengths begin, and the last one ends, (B+1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def places(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … counts[0]-1, 0, 1, … counts[1]-1, …"""
    return np.arange(counts.sum()) - np.repeat(offsets_of(counts)[:-1], counts)


def _check_rate(rate: float) -> None:
    if not 0 < rate <= 1:
        raise UserError(f"the masking rate is {rate}, but must lie above 0 and be at most 1")
