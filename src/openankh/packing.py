"""Training batches: proteins in the corpus's order, cropped, corrupted and packed to a token budget.

A batch is a pure function of (corpus, order, objective, settings, position), where the position is the number of
proteins served before it. So resuming is exact, and any worker or rank can make any batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.objectives import Training, most_targets, show
from openankh.packed import Packed
from openankh.vocab import PAD, Vocab


class Proteins(Protocol):
    """What batches are made from: a corpus, or anything else that serves residues by number."""

    @property
    def vocab(self) -> Vocab: ...

    @property
    def lengths(self) -> NDArray[np.integer]: ...

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]: ...


Crops = Literal["anew", "fixed"]
"""When it is drawn where a crop begins."""


class Places(Protocol):
    """The order in which proteins are served: document numbers of positions, over all epochs."""

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class PackingSettings:
    """`tokens` is the encoder's budget of a batch, prefixes and `</s>` included, `target_tokens` the decoder's, which
    0 leaves to what the encoder's brings; longer proteins are cropped to `crop` residues.

    Where a crop begins is drawn "anew" each time a protein is served; "fixed", once for all epochs. A
    `length_multiple` above 1 crops lengths down to its multiples, so that many proteins of a batch are equally long,
    which trains faster on CPUs. (Ankh paper: crops of 512.)

    The decoder's budget counts for each protein the most that its targets can become, whatever is drawn, so that where
    batches begin depends on lengths alone.
    """

    tokens: int = 8192
    crop: int = 512
    length_multiple: int = 1
    target_tokens: int = 0
    crops: Crops = "anew"

    def __post_init__(self) -> None:
        if self.crop < 2:
            raise UserError(f"the crop is {self.crop} residues, but must be at least 2")
        if self.tokens < self.crop + 2:
            raise UserError(f"a batch of {self.tokens} tokens cannot hold a crop of {self.crop} residues with its ends")
        if self.length_multiple < 1:
            raise UserError(f"length_multiple is {self.length_multiple}, but must be at least 1 (1 crops nothing)")
        if self.target_tokens and self.target_tokens < 2 * self.crop + 1:
            raise UserError(
                f"target_tokens is {self.target_tokens}, but must be 0 (no budget) or at least {2 * self.crop + 1}, "
                f"which a crop of {self.crop} residues can bring"
            )
        if self.crops not in get_args(Crops):
            raise UserError(f"crops is {self.crops!r}, but must be one of {', '.join(get_args(Crops))}")

    def cropped(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many residues of proteins of these lengths are served, (B,)."""
        whole = np.minimum(lengths, self.crop)
        return np.maximum(whole - whole % self.length_multiple, np.minimum(whole, self.length_multiple))


@dataclass(frozen=True, eq=False)
class Batch:
    """Packed encoder `inputs`, decoder `targets` and the same shifted right by `<pad>`.

    `proteins` are the numbers in the corpus, `tasks` those of the objectives they were given (ascending), both (B,);
    `next_position` is where the following batch begins.
    """

    inputs: Packed
    decoder_inputs: Packed
    targets: Packed
    proteins: NDArray[np.int64]
    tasks: NDArray[np.int64]
    num_residues: int
    position: int
    next_position: int


@dataclass(frozen=True)
class Batches:
    """All batches of a corpus in an order under an objective."""

    corpus: Proteins
    order: Places
    objective: Training
    settings: PackingSettings
    seed: int

    def at(self, position: int, end: int | None = None) -> Batch:
        """The batch that begins with the protein served at `position`, none from position `end` on."""
        proteins, lengths = self._choose(position)
        if end is not None:
            proteins, lengths = proteins[: end - position], lengths[: end - position]
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, position], np.uint64)))
        tasks = self.objective.draw_tasks(len(proteins), rng)
        in_order = np.lexsort((lengths, tasks))  # equals side by side: attention takes them together
        proteins, lengths, tasks = proteins[in_order], lengths[in_order], tasks[in_order]
        ids, offsets = self.corpus.gather(proteins)
        residues = _cut(ids, offsets, self._begins(proteins, np.diff(offsets) - lengths, rng), lengths)
        examples = show(self.objective.tasks, tasks, residues, self.corpus.vocab, rng)
        return Batch(
            inputs=examples.inputs,
            decoder_inputs=shift_right(examples.targets),
            targets=examples.targets,
            proteins=proteins,
            tasks=tasks,
            num_residues=len(residues.ids),
            position=position,
            next_position=position + len(proteins),
        )

    def next_position(self, position: int) -> int:
        """Where the batch after the one at `position` begins, at the cost of looking at lengths alone."""
        return position + len(self._choose(position)[0])

    def start_from(self, position: int) -> Iterator[Batch]:
        """Batches from `position` on, without end."""
        while True:
            batch = self.at(position)
            yield batch
            position = batch.next_position

    def _choose(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As many proteins as the budget holds, and their lengths after cropping."""
        extra = self.objective.num_added(self.corpus.vocab)
        window = self.settings.tokens // 64 + 8
        chosen: list[NDArray[np.int64]] = []
        room, target_room = self.settings.tokens, self.settings.target_tokens
        while True:
            proteins = self.order.at(np.arange(position, position + window, dtype=np.int64))
            lengths = self.settings.cropped(np.asarray(self.corpus.lengths[proteins], np.int64))
            fitting = _num_fitting(lengths + extra, room)
            if self.settings.target_tokens:
                targets = most_targets(self.objective, lengths)
                fitting = min(fitting, _num_fitting(targets, target_room))
                target_room -= int(targets.sum())
            chosen.append(np.stack([proteins[:fitting], lengths[:fitting]]))
            if fitting < window:
                return tuple(np.concatenate(chosen, axis=1))  # type: ignore[return-value]
            position, room = position + window, room - int((lengths + extra).sum())

    def _begins(
        self, proteins: NDArray[np.int64], spare: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """At which residue of each protein its crop begins, (B,), from 0 to `spare`."""
        if self.settings.crops == "anew":
            return rng.integers(0, spare + 1)
        return np.array([self._fixed_begin(*pair) for pair in zip(proteins.tolist(), spare.tolist(), strict=True)])

    def _fixed_begin(self, protein: int, spare: int) -> int:
        if not spare:
            return 0
        key = np.array([self.seed, protein], np.uint64)
        return int(np.random.Generator(np.random.Philox(key=key)).integers(0, spare + 1))


def _num_fitting(sizes: NDArray[np.int64], room: int) -> int:
    """How many, from the first one on, there is room for."""
    return int(np.searchsorted(np.cumsum(sizes), room, side="right"))


def _cut(
    ids: NDArray[np.uint8], offsets: NDArray[np.int64], begins: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Packed:
    """So many residues of each protein, from its begin on."""
    cut = np.zeros(len(offsets), np.int64)
    np.cumsum(lengths, out=cut[1:])
    if cut[-1] == len(ids):
        return Packed(ids, cut)
    starts = offsets[:-1] + begins
    return Packed(ids[np.arange(cut[-1]) + np.repeat(starts - cut[:-1], lengths)], cut)


@dataclass(frozen=True)
class Turns:
    """Batches dealt out to `size` ranks in turn: rank r makes those numbered r, r + size, … and skips the others."""

    batches: Batches
    rank: int = 0
    size: int = 1

    def at(self, position: int) -> Batch:
        """This rank's batch of the round that begins at `position`; its `next_position` is the next round's."""
        for _ in range(self.rank):
            position = self.batches.next_position(position)
        batch = self.batches.at(position)
        end = batch.next_position
        for _ in range(self.size - self.rank - 1):
            end = self.batches.next_position(end)
        return replace(batch, next_position=end)


def shift_right(targets: Packed) -> Packed:
    """What the decoder reads: each sequence begins with `<pad>` and loses its last token."""
    ids = np.roll(targets.ids, 1)
    ids[targets.offsets[:-1]] = PAD
    return Packed(ids, targets.offsets)
