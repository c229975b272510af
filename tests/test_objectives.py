"""Hiding and showing: inputs and targets together are the protein, whatever its length, the rate and the seed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.objectives import (
    DistinctResidues,
    FullReconstruction,
    Mask,
    MaskedAlone,
    MergedSpans,
    NGrams,
    Objective,
    PartialDemasking,
    Presentation,
    RandomResidues,
    SeveralRates,
    Suffix,
    close,
    has_sentinel_each,
    open_again,
    put_in_front,
)
from openankh.packed import Packed
from openankh.vocab import EOS, Vocab, ankh_vocab, openankh_vocab

VOCABS = {"ankh": ankh_vocab(), "openankh": openankh_vocab()}
lengths = st.lists(st.integers(1, 100), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


def draw_proteins(sizes: list[int], vocab: Vocab, rng: np.random.Generator) -> Packed:
    return Packed.join([rng.choice(vocab.residue_ids, size) for size in sizes])


def same(ours: Packed, theirs: Packed) -> bool:
    return bool(np.array_equal(ours.ids, theirs.ids) and np.array_equal(ours.offsets, theirs.offsets))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(lengths, st.floats(0.001, 1.0), st.booleans(), seeds, st.sampled_from(sorted(VOCABS)))
def test_inputs_and_targets_together_rebuild_the_proteins(
    sizes: list[int], rate: float, exact: bool, seed: int, vocab_name: str
) -> None:
    vocab, rng = VOCABS[vocab_name], np.random.default_rng(seed)
    proteins = draw_proteins(sizes, vocab, rng)
    presentation = PartialDemasking()
    examples = presentation.show(proteins, RandomResidues(rate, exact).draw(proteins, rng), vocab)
    assert same(presentation.restore(examples, vocab), proteins)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths, st.floats(0.01, 1.0), seeds)
def test_each_hidden_residue_has_its_own_sentinel_in_order_in_inputs_and_targets(
    sizes: list[int], rate: float, seed: int
) -> None:
    vocab, rng = openankh_vocab(), np.random.default_rng(seed)
    proteins = draw_proteins(sizes, vocab, rng)
    hidden = RandomResidues(rate).draw(proteins, rng)
    examples = PartialDemasking().show(proteins, hidden, vocab)
    for protein, inputs, targets in zip(proteins, examples.inputs, examples.targets, strict=True):
        assert (inputs[-1], targets[-1], len(inputs)) == (EOS, EOS, len(protein) + 1)
        at_sentinel = np.isin(inputs, vocab.sentinel_ids)
        expected = vocab.sentinel_ids[: at_sentinel.sum()]
        assert np.array_equal(inputs[at_sentinel], expected)
        assert np.array_equal(targets[:-1:2], expected)
        assert np.array_equal(targets[1::2], protein[at_sentinel[:-1]])
        assert np.array_equal(inputs[:-1][~at_sentinel[:-1]], protein[~at_sentinel[:-1]])


def test_the_papers_example_is_shown_as_the_paper_shows_it() -> None:
    vocab = ankh_vocab()
    protein = Packed.join([vocab.encode("ARCDEFG")])
    hidden = np.array([False, False, True, False, False, False, True])
    examples = PartialDemasking().show(protein, hidden, vocab)
    assert vocab.decode(examples.inputs[0]) == "AR<extra_id_0>DEF<extra_id_1></s>"
    assert vocab.decode(examples.targets[0]) == "<extra_id_0>C<extra_id_1>G</s>"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths, st.floats(0.01, 1.0), seeds)
def test_the_exact_mask_hides_the_rounded_share_and_at_least_one_residue(
    sizes: list[int], rate: float, seed: int
) -> None:
    proteins = draw_proteins(sizes, openankh_vocab(), np.random.default_rng(seed))
    hidden = RandomResidues(rate).draw(proteins, np.random.default_rng(seed))
    counts = np.add.reduceat(hidden, proteins.offsets[:-1])
    assert counts.tolist() == [min(size, max(1, int(size * rate + 0.5))) for size in sizes]


@pytest.mark.parametrize("exact", [True, False])
def test_every_place_is_hidden_equally_often(exact: bool) -> None:
    proteins = Packed.join([np.full(40, 5, np.uint8)] * 5000)
    hidden = RandomResidues(0.2, exact).draw(proteins, np.random.default_rng(0)).reshape(5000, 40)
    # 5,000 draws at 0.2: a place's share has a standard deviation of 0.0057; five of them.
    assert abs(hidden.mean(0) - 0.2).max() < 0.0283


def test_a_mask_depends_on_the_generator_alone() -> None:
    proteins = Packed.join([np.full(300, 5, np.uint8)] * 20)
    first, again, other = (RandomResidues().draw(proteins, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_company_does_not_change_how_many_residues_are_hidden() -> None:
    mask, rng = RandomResidues(0.15), np.random.default_rng(0)
    sizes = [1, 7, 512, 33]
    together = mask.draw(Packed.join([np.full(size, 5, np.uint8) for size in sizes]), rng)
    alone = [mask.draw(Packed.join([np.full(size, 5, np.uint8)]), rng).sum() for size in sizes]
    assert np.add.reduceat(together, np.cumsum([0, *sizes[:-1]])).tolist() == alone


def test_running_out_of_sentinels_names_both_counts() -> None:
    protein = Packed.join([np.full(1000, 5, np.uint8)])
    with pytest.raises(UserError, match="200 residues of one protein are hidden, but the vocabulary has 116 sentinels"):
        Objective().examples(protein, ankh_vocab(), np.random.default_rng(0))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="masking rate"):
        RandomResidues(rate)


def test_the_prefix_stands_in_front_where_the_vocabulary_has_it() -> None:
    for vocab, prefixed in ((openankh_vocab(), True), (ankh_vocab(), False)):
        proteins = draw_proteins([9, 30], vocab, np.random.default_rng(0))
        examples = Objective().examples(proteins, vocab, np.random.default_rng(0))
        assert np.array_equal(examples.inputs.lengths, proteins.lengths + 1 + prefixed)
        if prefixed:
            assert all(inputs[0] == vocab.prefix_id("[NLU]") for inputs in examples.inputs)


def test_at_twenty_per_cent_targets_are_two_fifths_of_the_inputs() -> None:
    proteins = draw_proteins([500] * 20, openankh_vocab(), np.random.default_rng(0))
    examples = Objective().examples(proteins, openankh_vocab(), np.random.default_rng(0))
    assert len(examples.targets.ids) == 20 * (2 * 100 + 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lengths, seeds)
def test_opening_again_undoes_closing(sizes: list[int], seed: int) -> None:
    proteins = draw_proteins(sizes, openankh_vocab(), np.random.default_rng(seed))
    assert same(open_again(close(proteins)), proteins)
    assert same(open_again(close(put_in_front(proteins, 3))), put_in_front(proteins, 3))


MASKS: list[Mask] = [RandomResidues(0.3), DistinctResidues(0.15), NGrams(3, 0.3), SeveralRates(), Suffix(0.2, 0.8)]
PRESENTATIONS: list[Presentation] = [
    PartialDemasking(),
    FullReconstruction(),
    MaskedAlone(),
    MergedSpans(),
]


@pytest.mark.parametrize("presentation", PRESENTATIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("mask", MASKS, ids=lambda each: type(each).__name__)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(lengths, seeds, st.sampled_from(sorted(VOCABS)))
def test_every_mask_shown_in_every_way_rebuilds_the_proteins(
    presentation: Presentation, mask: Mask, sizes: list[int], seed: int, vocab_name: str
) -> None:
    vocab, rng = VOCABS[vocab_name], np.random.default_rng(seed)
    proteins = draw_proteins(sizes, vocab, rng)
    hidden = mask.draw(proteins, rng)
    assert all(hidden[a:b].any() for a, b in pairwise(proteins.offsets))
    assert same(presentation.restore(presentation.show(proteins, hidden, vocab), vocab), proteins)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths, seeds)
def test_distinct_residues_hides_every_kind_at_least_once_and_no_more_than_asked(sizes: list[int], seed: int) -> None:
    vocab, rng = openankh_vocab(), np.random.default_rng(seed)
    proteins = draw_proteins(sizes, vocab, rng)
    hidden = DistinctResidues(0.15).draw(proteins, rng)
    for protein, (start, end) in zip(proteins, pairwise(proteins.offsets), strict=True):
        kinds, num_hidden = np.unique(protein), int(hidden[start:end].sum())
        assert np.array_equal(np.unique(protein[hidden[start:end]]), kinds)
        assert num_hidden == max(len(kinds), np.floor(len(protein) * 0.15 + 0.5), 1)


def test_n_grams_are_hidden_whole() -> None:
    proteins = draw_proteins([31] * 50, openankh_vocab(), np.random.default_rng(0))
    hidden = NGrams(3, 0.2).draw(proteins, np.random.default_rng(1)).reshape(50, 31)
    grams = hidden[:, :30].reshape(50, 10, 3)
    assert (grams.all(-1) == grams.any(-1)).all()
    assert (grams.all(-1).sum(1) + hidden[:, 30] == 2).all()  # 20 % of eleven


def test_merged_spans_are_shown_as_t5_shows_them() -> None:
    vocab = ankh_vocab()
    protein = Packed.join([vocab.encode("ARCDEFG")])
    hidden = np.array([False, True, True, False, False, False, True])
    examples = MergedSpans().show(protein, hidden, vocab)
    first, second = vocab.sentinel_ids[:2]
    a, r, c, d, e, f, g = protein.ids
    assert examples.inputs.ids.tolist() == [a, first, d, e, f, second, EOS]
    assert examples.targets.ids.tolist() == [first, r, c, second, g, EOS]


def test_only_presentations_with_a_sentinel_each_say_so() -> None:
    vocab, rng = openankh_vocab(), np.random.default_rng(0)
    proteins = draw_proteins([60], vocab, rng)
    hidden = NGrams(3, 0.3).draw(proteins, rng)
    told = {type(each): has_sentinel_each(each.show(proteins, hidden, vocab), vocab) for each in PRESENTATIONS}
    assert told == {PartialDemasking: True, FullReconstruction: False, MaskedAlone: True, MergedSpans: False}
