"""Every head learns every kind of target from rows that are there; the same seed gives the same head, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fit_samples import (
    WIDTH,
    LetterRows,
    class_data,
    contact_data,
    label_data,
    number_data,
    residue_data,
    sequences,
)
from openankh.errors import UserError
from openankh.tasks.batching import BatchLimits, batches
from openankh.tasks.evaluation import evaluate
from openankh.tasks.examples import TaskData
from openankh.tasks.finetuning import HeadChoice
from openankh.tasks.fitting import Epoch, FitOptions, fit_head, measure, outputs_of, peak_rate
from openankh.tasks.heads.head import HeadName
from openankh.tasks.losses import class_weights, loss_of
from openankh.tasks.predictor import Predictor
from openankh.tasks.target_space import Classes, Labels
from openankh.tasks.validation import score_of

FEW = FitOptions(epochs=12, learning_rate=1e-2)
DATA = {
    "residue": residue_data(),
    "class": class_data(),
    "number": number_data(),
    "labels": label_data(),
    "contact": contact_data(),
}


def fitted(data: TaskData, name: HeadName, options: FitOptions = FEW):
    return fit_head(HeadChoice(name, hidden=16).config(data, WIDTH), data, LetterRows(), options)


@pytest.mark.parametrize(
    ("kind", "name", "least"),
    [
        ("residue", "linear", 0.95),
        ("residue", "mlp", 0.95),
        ("residue", "convbert", 0.9),
        ("class", "linear", 0.75),
        ("class", "light-attention", 0.65),
        ("number", "linear", 0.7),
        ("number", "convbert", 0.4),
        ("labels", "mlp", 0.6),
        ("contact", "linear", 0.45),
    ],
)
def test_a_head_learns_what_the_rows_show(kind: str, name: HeadName, least: float) -> None:
    data = DATA[kind]
    found = fitted(data, name)
    assert found.valid_score >= least
    measured = measure(found.predictor, data, LetterRows())
    assert measured["test"][0].interval.value >= least - 0.15
    assert measured["valid"][0].interval.value == pytest.approx(found.valid_score)


@pytest.mark.parametrize("kind", DATA)
def test_the_score_that_chooses_is_the_metric_that_is_reported(kind: str) -> None:
    data = DATA[kind]
    predictor = Predictor(HeadChoice("linear").config(data, WIDTH), data.space).eval()
    outputs = list(outputs_of(predictor, LetterRows(), data.valid))
    whole = evaluate(data.task, data.space, outputs, data.valid)[0].interval.value
    assert score_of(data.task.metric, data.space, outputs, data.valid) == pytest.approx(whole)


def test_areas_that_choose_are_those_that_are_reported() -> None:
    for data in (DATA["class"], DATA["labels"]):
        task = replace(data.task, metrics=("auc", "mcc", "accuracy"))
        predictor = Predictor(HeadChoice("linear").config(data, WIDTH), data.space).eval()
        outputs = list(outputs_of(predictor, LetterRows(), data.valid))
        for measured, metric in zip(evaluate(task, data.space, outputs, data.valid), task.metrics, strict=True):
            assert score_of(metric, data.space, outputs, data.valid) == pytest.approx(measured.interval.value)


def test_the_same_seed_gives_the_same_bits_and_another_others() -> None:
    data = DATA["class"]
    options = FitOptions(epochs=2)
    one, two = (fitted(data, "convbert", options).predictor.weights() for _ in range(2))
    torch.rand(3)
    other = fitted(data, "convbert", replace(options, seed=1)).predictor.weights()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_training_leaves_the_randomness_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(DATA["class"], "mlp", FitOptions(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_training_stops_when_validation_no_longer_rises_and_keeps_the_best_epoch() -> None:
    data = DATA["class"]
    seen: list[Epoch] = []
    options = FitOptions(epochs=60, patience=2, learning_rate=5e-2)
    config = HeadChoice("linear").config(data, WIDTH)
    found = fit_head(config, data, LetterRows(), options, lambda epoch, num: seen.append(epoch))
    assert len(seen) < 60 and len(seen) == found.best_epoch + 2 and tuple(seen) == found.history
    assert found.valid_score == max(epoch.valid_score for epoch in seen)
    outputs = outputs_of(found.predictor, LetterRows(), data.valid)
    assert score_of("accuracy", data.space, outputs, data.valid) == found.valid_score


def test_pooled_rows_serve_a_linear_head_as_well_as_all_rows() -> None:
    data = DATA["class"]
    config = HeadChoice("linear").config(data, WIDTH)
    options = replace(FEW, standardise=False, batch_size=100)
    whole, pooled = (fit_head(config, data, LetterRows(pool), options).predictor for pool in ("residues", "mean"))
    for name, weight in whole.weights().items():
        torch.testing.assert_close(weight, pooled.weights()[name], rtol=1e-3, atol=1e-4)


def test_windows_of_long_proteins_are_learned_from_with_their_targets() -> None:
    found = fitted(DATA["residue"], "linear", replace(FEW, longest=6))
    assert found.valid_score > 0.95


def test_what_is_said_of_a_protein_does_not_depend_on_its_company() -> None:
    found = fitted(DATA["class"], "convbert", FitOptions(epochs=1)).predictor
    alone = list(outputs_of(found, LetterRows(), DATA["class"].valid))
    other = list(outputs_of(found, LetterRows(), DATA["class"].valid.at([3])))
    assert alone[3].tobytes() == other[0].tobytes()


def test_every_protein_is_in_exactly_one_batch_and_batches_keep_their_limits() -> None:
    lengths = [len(each) for each in sequences(200, longest=90)] + [5000]
    for limits in (BatchLimits(16, 600), BatchLimits(7, 20_000, of_pairs=True)):
        found = batches(lengths, limits, np.random.default_rng(0))
        assert sorted(place for batch in found for place in batch) == list(range(201))
        for batch in found:
            longest = max(lengths[place] for place in batch)
            assert len(batch) == 1 or limits.fits(len(batch), longest)


def test_balanced_weights_give_every_class_the_same_weight_in_sum() -> None:
    data = task = DATA["residue"]
    weights_C = class_weights(data.space, task.train, "balanced")
    assert weights_C is not None and isinstance(data.space, Classes)
    counts_C = np.bincount(np.concatenate(data.train.targets)[np.concatenate(data.train.targets) >= 0], minlength=3)
    np.testing.assert_allclose(weights_C.numpy() * counts_C, counts_C.sum() / 3, rtol=1e-5)
    assert class_weights(data.space, data.train, "none") is None
    labels = DATA["labels"]
    assert isinstance(labels.space, Labels)
    assert class_weights(labels.space, labels.train, "balanced") is not None
    with pytest.raises(UserError, match="only classes and labels"):
        class_weights(DATA["number"].space, DATA["number"].train, "balanced")


def test_a_batch_in_which_nothing_is_counted_costs_nothing() -> None:
    outputs = torch.randn(1, 4, 3, requires_grad=True)
    loss = loss_of(DATA["residue"].space, outputs, [np.full(4, -1)], None)
    loss.backward()
    assert float(loss.detach()) == 0
    pairs = torch.randn(1, 4, 4, requires_grad=True)
    assert float(loss_of(DATA["contact"].space, pairs, [np.zeros((4, 3), np.float32)], None).detach()) == 0


def test_a_linear_head_alone_learns_faster_unless_a_rate_is_set() -> None:
    linear, mlp = (HeadChoice(name).config(DATA["class"], WIDTH) for name in ("linear", "mlp"))
    assert peak_rate(FitOptions(), linear) == 1e-2 and peak_rate(FitOptions(), mlp) == 1e-3
    assert peak_rate(FitOptions(), linear, is_tuned=True) == 1e-3
    assert peak_rate(FitOptions(learning_rate=0.5), linear) == 0.5


def test_a_loss_that_is_no_number_is_told() -> None:
    with pytest.raises(UserError, match="lower the learning rate"):
        fitted(DATA["number"], "linear", FitOptions(epochs=3, learning_rate=1e30, warmup_steps=0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"epochs": 0}, "at least 1"), ({"learning_rate": 0.0}, "above 0"), ({"seed": -1}, "0 or more")],
)
def test_options_that_cannot_be_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FitOptions(**wrong)
