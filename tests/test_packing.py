"""Training batches: every protein once an epoch, within the budget, a pure function of the position."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.objectives import (
    DistinctResidues,
    FullReconstruction,
    MaskedAlone,
    MergedSpans,
    NGrams,
    Objective,
    PartialDemasking,
    RandomResidues,
    SeveralRates,
    Suffix,
    most_targets,
)
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Batch, Batches, PackingSettings, shift_right
from openankh.pretraining.recipes import denoising_and_completion
from openankh.vocab import PAD, Vocab, openankh_vocab


@dataclass(frozen=True, eq=False)
class ListOfProteins:
    """A corpus in memory."""

    proteins: Packed
    vocab: Vocab

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.proteins.lengths

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        gathered = Packed.join([self.proteins[int(index)] for index in indices])
        return gathered.ids.astype(np.uint8), gathered.offsets


def make_batches(num: int = 200, longest: int = 300, seed: int = 0, **changes: Any) -> Batches:
    vocab, rng = openankh_vocab(), np.random.default_rng(7)
    proteins = Packed.join([rng.choice(vocab.standard_ids, rng.integers(1, longest)) for _ in range(num)])
    settings = PackingSettings(**{"tokens": 1000, "crop": 128, **changes})
    return Batches(ListOfProteins(proteins, vocab), Order(num, seed), Objective(), settings, seed)


def first(batches: Batches, count: int, position: int = 0) -> list[Batch]:
    return [batch for batch, _ in zip(batches.start_from(position), range(count), strict=False)]


def equal(ours: Batch, theirs: Batch) -> bool:
    pairs = [(ours.inputs, theirs.inputs), (ours.targets, theirs.targets), (ours.decoder_inputs, theirs.decoder_inputs)]
    return all(np.array_equal(a.ids, b.ids) and np.array_equal(a.offsets, b.offsets) for a, b in pairs)


def test_every_protein_is_in_exactly_one_batch_of_an_epoch() -> None:
    batches, seen, position = make_batches(), [], 0
    while position < 200:
        batch = batches.at(position, end=200)
        seen += batch.proteins.tolist()
        position = batch.next_position
    assert sorted(seen) == list(range(200))


def test_a_batch_keeps_its_budget_and_could_take_no_protein_more() -> None:
    batches = make_batches()
    for batch in first(batches, 20):
        assert len(batch.inputs.ids) <= 1000
        following = batches.order.at(np.array([batch.next_position]))[0]
        assert len(batch.inputs.ids) + min(batches.corpus.lengths[following], 128) + 2 > 1000


def test_a_batch_depends_on_its_position_alone() -> None:
    along = first(make_batches(), 12)
    assert all(equal(batch, make_batches().at(batch.position)) for batch in along)
    assert not equal(along[0], make_batches(seed=1).at(0))


def test_crops_are_pieces_of_their_protein_and_differ_between_epochs() -> None:
    batches = make_batches(num=20)
    corpus = batches.corpus
    (objective,) = batches.objective.tasks
    starts: dict[int, set[int]] = {}
    for batch in first(batches, 60):
        restored = objective.presentation.restore(_without_prefix(batch), corpus.vocab)
        for number, piece in zip(batch.proteins, restored, strict=True):
            whole = corpus.gather(np.array([number]))[0].tobytes()
            start = whole.find(piece.tobytes())
            assert start >= 0
            assert len(piece) == min(len(whole), 128)
            starts.setdefault(int(number), set()).add(start)
    assert any(len(places) > 2 for places in starts.values())


def _without_prefix(batch: Batch):
    from openankh.objectives import Examples

    kept = np.ones(len(batch.inputs.ids), bool)
    kept[batch.inputs.offsets[:-1]] = False
    offsets = batch.inputs.offsets - np.arange(len(batch.inputs.offsets))
    return Examples(Packed(batch.inputs.ids[kept], offsets), batch.targets)


def test_lengths_are_cropped_to_multiples_when_asked_and_never_to_nothing() -> None:
    batches = make_batches(length_multiple=32)
    for batch in first(batches, 20):
        whole = np.minimum(batches.corpus.lengths[batch.proteins], 128)
        served = batch.inputs.lengths - 2
        assert np.array_equal(served, np.where(whole < 32, whole, whole // 32 * 32))
        assert batch.num_residues == served.sum()


def test_the_decoder_reads_each_target_one_step_late() -> None:
    for batch in first(make_batches(), 5):
        for read, written in zip(batch.decoder_inputs, batch.targets, strict=True):
            assert read[0] == PAD
            assert np.array_equal(read[1:], written[:-1])


def test_shifting_keeps_an_empty_batch_empty() -> None:
    assert len(shift_right(Packed(np.zeros(0, np.uint8), np.zeros(1, np.int64))).ids) == 0


@pytest.mark.parametrize(
    ("changes", "complaint"), [({"crop": 1}, "at least 2"), ({"tokens": 100, "crop": 128}, "cannot hold a crop")]
)
def test_impossible_settings_are_refused(changes: dict[str, int], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        make_batches(**changes)


def test_an_objective_that_hides_more_shows_longer_targets() -> None:
    batches = make_batches()
    more = Batches(batches.corpus, batches.order, Objective(mask=RandomResidues(0.4)), batches.settings, 0)
    assert len(more.at(0).targets.ids) > 1.8 * len(batches.at(0).targets.ids)


@pytest.mark.parametrize("objective", [Objective(), denoising_and_completion(1.0, (0.25, 0.75))])
def test_a_decoders_budget_is_kept_and_serves_every_protein_once(objective) -> None:
    plain = make_batches(target_tokens=300)
    batches = Batches(plain.corpus, plain.order, objective, plain.settings, 0)
    seen, position = [], 0
    while position < 200:
        batch = batches.at(position, end=200)
        assert len(batch.inputs.ids) <= 1000 and len(batch.targets.ids) <= 300
        assert batch.next_position == min(200, batches.next_position(position))
        seen += batch.proteins.tolist()
        position = batch.next_position
    assert sorted(seen) == list(range(200))


def test_a_decoders_budget_takes_all_that_its_worst_case_allows() -> None:
    batches = make_batches(target_tokens=300)
    for batch in first(batches, 20):
        following = batches.order.at(np.array([batch.next_position]))
        lengths = np.minimum(batches.corpus.lengths[np.append(batch.proteins, following)], 128)
        sources, targets = (lengths + 2).sum(), most_targets(batches.objective, lengths.astype(np.int64)).sum()
        assert sources > 1000 or targets > 300


@pytest.mark.parametrize(
    "mask",
    [
        RandomResidues(0.3),
        RandomResidues(0.3, exact=False),
        SeveralRates(),
        DistinctResidues(),
        NGrams(3, 0.2),
        Suffix(0.2, 0.6),
    ],
)
@pytest.mark.parametrize("presentation", [PartialDemasking(), FullReconstruction(), MaskedAlone(), MergedSpans()])
def test_no_target_is_longer_than_its_bound(mask, presentation) -> None:
    vocab, rng = openankh_vocab(), np.random.default_rng(3)
    proteins = Packed.join([rng.choice(vocab.standard_ids, length) for length in range(1, 120)])
    objective = Objective("x", mask, presentation)
    for _ in range(3):
        examples = objective.examples(proteins, vocab, rng)
        assert np.all(examples.targets.lengths <= most_targets(objective, proteins.lengths))


def test_fixed_crops_are_the_same_in_every_epoch_and_differ_between_proteins() -> None:
    batches = make_batches(num=20)
    fixed = Batches(batches.corpus, batches.order, batches.objective, replace(batches.settings, crops="fixed"), 0)
    shown: dict[int, set[bytes]] = {}
    for batch in first(fixed, 60):
        restored = fixed.objective.tasks[0].presentation.restore(_without_prefix(batch), fixed.corpus.vocab)
        for number, piece in zip(batch.proteins, restored, strict=True):
            shown.setdefault(int(number), set()).add(piece.tobytes())
    assert len(shown) == 20
    assert all(len(pieces) == 1 for pieces in shown.values())
    long = [number for number in shown if fixed.corpus.lengths[number] > 140]
    begins = {fixed.corpus.gather(np.array([number]))[0].tobytes().find(next(iter(shown[number]))) for number in long}
    assert len(begins) > 2


@pytest.mark.parametrize(
    ("changes", "complaint"), [({"target_tokens": 200}, "at least 257"), ({"crops": "once"}, "one of anew, fixed")]
)
def test_budgets_and_crops_that_cannot_be_are_refused(changes, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        make_batches(**changes)
