"""Metrics are those of scikit-learn and scipy; intervals cover what they should."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as oracle

from openankh.tasks.contact_precision import RANGES, precision_at
from openankh.tasks.interval import interval_of_choices, interval_of_sums
from openankh.tasks.metrics import (
    accuracy,
    area_under_curve,
    confusion,
    f1,
    matthews_correlation,
    order_codes,
    ranks_of_codes,
    spearman,
)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_metrics_of_classes_are_those_of_scikit_learn(num_classes: int) -> None:
    generator = np.random.default_rng(num_classes)
    true = generator.integers(num_classes, size=500)
    told = np.where(generator.random(500) < 0.6, true, generator.integers(num_classes, size=500))
    counts = confusion(told, true, num_classes)
    np.testing.assert_array_equal(counts, oracle.confusion_matrix(true, told))
    assert accuracy(counts) == pytest.approx(oracle.accuracy_score(true, told))
    assert matthews_correlation(counts) == pytest.approx(oracle.matthews_corrcoef(true, told))
    average = "binary" if num_classes == 2 else "macro"
    assert f1(counts) == pytest.approx(oracle.f1_score(true, told, average=average))


def test_one_told_class_has_no_correlation() -> None:
    assert matthews_correlation(confusion(np.zeros(9, int), np.arange(9) % 2, 2)) == 0


def test_a_class_never_told_nor_true_counts_as_zero_in_the_mean() -> None:
    true, told = np.array([0, 1, 1]), np.array([0, 1, 1])
    assert f1(confusion(told, true, 4)) == pytest.approx(0.5)


@pytest.mark.parametrize("num_levels", [3, 1000])
def test_rank_metrics_with_ties_are_those_of_the_oracles(num_levels: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(num_levels, size=400) / 7
    true = scores + generator.normal(0, scores.std(), 400)
    positive = true > np.median(true)
    assert area_under_curve(scores, positive) == pytest.approx(oracle.roc_auc_score(positive, scores))
    assert spearman(scores, true) == pytest.approx(spearmanr(scores, true)[0])


def test_equal_values_share_their_mean_rank() -> None:
    np.testing.assert_array_equal(ranks_of_codes(order_codes(np.array([3.0, 1.0, 3.0, 2.0]))), [3.5, 1, 3.5, 2])


def test_what_has_no_answer_is_not_a_number() -> None:
    assert np.isnan(area_under_curve(np.arange(3.0), np.ones(3, bool)))
    assert np.isnan(spearman(np.zeros(5), np.arange(5.0)))


def test_precision_counts_the_best_pairs_of_a_range_alone() -> None:
    length = 30
    contacts = np.zeros((length, length), bool)
    contacts[0, 8] = contacts[0, 25] = True
    scores = np.zeros((length, length))
    scores[0, 1] = 99  # neighbours are not ranked
    scores[0, 8], scores[0, 25], scores[3, 28] = 9, 8, 7
    assert precision_at(scores, contacts, 5) == 2 / 6
    assert precision_at(scores, contacts, 10) == 2 / 3
    assert precision_at(scores, contacts, 15, RANGES["long"]) == 1 / 2
    assert precision_at(scores, contacts, 30, RANGES["short"]) == 1


def test_residues_that_are_not_known_are_not_ranked() -> None:
    scores = np.arange(400.0).reshape(20, 20)
    contacts = np.zeros((20, 20), bool)
    contacts[0, 19] = True
    known = np.ones(20, bool)
    known[1:19] = False
    assert precision_at(scores, contacts, 1, known_L=known) == 1
    assert np.isnan(precision_at(scores[:5, :5], contacts[:5, :5]))


def test_intervals_cover_the_truth_about_19_times_in_20() -> None:
    """The interval of a share of 60 drawn from 0.3; an exact binomial interval would cover as often."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        hits = generator.random(60) < 0.3
        found = interval_of_choices(60, lambda chosen, hits=hits: float(hits[chosen].mean()))
        covered += found.low <= 0.3 <= found.high
    assert 52 <= covered <= 60


def test_sums_and_choices_give_the_same_interval() -> None:
    generator = np.random.default_rng(1)
    tallies = np.stack([generator.integers(0, 50, 80), np.full(80, 50)], axis=1)
    sums = interval_of_sums(tallies, lambda each: float(each[0] / each[1]))
    choices = interval_of_choices(80, lambda chosen: float(tallies[chosen, 0].sum() / tallies[chosen, 1].sum()))
    assert sums.value == pytest.approx(choices.value) == tallies[:, 0].mean() / 50
    assert (sums.low, sums.high) == pytest.approx((choices.low, choices.high), abs=0.02)
    assert interval_of_sums(tallies, lambda each: float(each[0] / each[1])) == sums


def test_nothing_measured_has_no_interval() -> None:
    assert interval_of_sums(np.zeros((0, 2)), lambda sums: 1.0).num == 0
