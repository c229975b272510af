"""Losses that are not finite, and spikes: nothing is poisoned; skipped, rolled back or stopped as the recipe says."""

import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from openankh import cli
from openankh.errors import UserError
from openankh.order import Order
from openankh.packing import Batches
from openankh.pretraining import rank_loss, stability, training_run
from openankh.pretraining.journal import read_journal
from openankh.pretraining.objective_loss import batch_loss
from openankh.pretraining.stability import Guard, StabilitySettings, Trouble
from openankh.pretraining.stop_signals import STOPPED_EXIT_CODE
from training_samples import (
    fingerprint,
    forked_trainers,
    poison,
    prepare_sample,
    pretrain_arguments,
    sample_corpus,
    tiny_recipe,
)

NAN = Trouble("not finite", math.nan, 1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(autouse=True)
def _whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)
    monkeypatch.setattr(rank_loss, "batch_loss", batch_loss)  # what a test puts there is taken away after it


def begin_of_step(corpus: Path, step: int, accumulation: int = 1) -> int:
    """Where the step's first batch begins, when no step before it was left out."""
    from openankh.corpus import Corpus

    train, recipe = Corpus.open(corpus), tiny_recipe()
    batches = Batches(train, Order(len(train), recipe.seed), recipe.objective, recipe.packing, recipe.seed)
    position = 0
    for _ in range((step - 1) * accumulation):
        position = batches.next_position(position)
    return position


def train(corpus: Path, run: Path, *more: str) -> int:
    return cli.main(pretrain_arguments(corpus, run, "--quiet", *more))


def story(run: Path) -> list[str]:
    """The journal in short: the steps taken, and what was done about trouble."""
    return [
        str(line["step"]) if line["kind"] == "train" else f"{line['action']} {line['step']}"
        for line in read_journal(run)
        if line["kind"] in ("train", "trouble")
    ]


def steps(first: int, last: int) -> list[str]:
    return [str(step) for step in range(first, last + 1)]


# The guard alone.


def guard_of(losses: list[float], **settings: Any) -> Guard:
    guard = Guard(StabilitySettings(**settings))
    for loss in losses:
        guard.taken(loss)
    return guard


def test_a_spike_is_far_above_the_usual_loss_and_needs_enough_losses_to_know_it() -> None:
    usual = [2.8 + 0.01 * (number % 7) for number in range(60)]
    assert guard_of(usual).trouble(2.9, 1.0) is None
    assert guard_of(usual).trouble(3.0, 1.0) is None
    found = guard_of(usual).trouble(3.5, 1.0)
    assert found is not None and found.usual == pytest.approx(2.83)
    assert found == Trouble("spike", 3.5, 1.0, found.usual)
    assert guard_of(usual[:49]).trouble(3.5, 1.0) is None
    assert guard_of(usual, deviations=40).trouble(3.5, 1.0) is None
    assert guard_of([2.8] * 60).trouble(2.9, 1.0) is None  # losses all alike make no loss unusual that is near


def test_what_is_not_finite_is_no_spike_but_trouble_at_once() -> None:
    for loss, norm in ((math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)):
        assert guard_of([]).trouble(loss, norm) is not None
    assert guard_of([]).refused(2.0, 1.0) is None


def test_a_spike_that_is_only_told_of_refuses_nothing() -> None:
    assert guard_of([2.8] * 60).refused(9.0, 1.0) is None
    assert guard_of([2.8] * 60, spike="skip").refused(9.0, 1.0) is not None


def test_skipping_gives_way_to_rolling_back_and_that_to_stopping() -> None:
    guard = guard_of([], patience=2, most_roll_backs=2)
    assert [guard.decide(NAN, True) for _ in range(3)] == ["skip", "skip", "roll-back"]
    guard.rolled_back(None)
    assert [guard.decide(NAN, True) for _ in range(3)] == ["skip", "skip", "roll-back"]
    guard.rolled_back(guard_of([]).to_json())
    guard.taken(2.0)
    assert [guard.decide(NAN, True) for _ in range(3)] == ["skip", "skip", "stop"]
    assert guard_of([], not_finite="roll-back").decide(NAN, has_checkpoint=False) == "stop"
    assert guard_of([], not_finite="stop").decide(NAN, has_checkpoint=True) == "stop"


def test_a_guard_goes_on_from_what_it_wrote() -> None:
    guard = guard_of([2.8 + 0.001 * number for number in range(300)])
    guard.decide(NAN, True)
    other = guard_of([9.0])
    other.restore(guard.to_json())
    assert other.to_json() == guard.to_json()
    assert len(other.to_json()["losses"]) == StabilitySettings().window
    assert other.trouble(9.0, 1.0) == guard.trouble(9.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"not_finite": "tell"}, "must be one of stop, skip, roll-back"),
        ({"spike": "ignore"}, "must be one of tell, stop, skip, roll-back"),
        ({"window": 3}, "must be at least 50"),
        ({"patience": -1}, "must be at least 0"),
        ({"deviations": math.inf}, "give a number above 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        StabilitySettings(**settings)


# Runs.


def test_a_batch_whose_loss_is_nan_is_left_out_and_the_run_goes_on(corpus: Path, tmp_path: Path, capsys) -> None:
    bad, behind = begin_of_step(corpus, 8), begin_of_step(corpus, 9)
    poison({bad: math.nan})
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run")) == 0
    assert story(tmp_path / "run") == [*steps(1, 7), "skip 8", *steps(8, 12)]
    (trouble,) = [line for line in read_journal(tmp_path / "run") if line["kind"] == "trouble"]
    assert (trouble["loss"], trouble["position"]) == ("nan", bad)
    taken = [line["position"] for line in read_journal(tmp_path / "run") if line["kind"] == "train"]
    assert taken[6] == bad and taken[7] > behind
    told = capsys.readouterr().err
    assert (
        f"step 8: loss nan, gradient norm nan in the batch at positions {bad} to {behind - 1} (corpus proteins" in told
    )
    assert "the weights were not touched: these proteins are left out" in told
    assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path / "run").values())


def weights(run: Path) -> dict[str, Any]:
    return load_file(max((run / "checkpoints").glob("step-*")) / "model.safetensors")


def test_a_run_rolls_back_and_goes_on_behind_the_batch(corpus: Path, tmp_path: Path, capsys) -> None:
    bad = begin_of_step(corpus, 9)
    poison({bad: math.inf})
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "stability.not_finite=roll-back")) == 0
    # A checkpoint follows every third step.
    assert story(tmp_path / "run") == [*steps(1, 8), "roll-back 9", *steps(7, 12)]
    lines = [line for line in read_journal(tmp_path / "run") if line["kind"] == "train"]
    assert lines[8]["position"] > begin_of_step(corpus, 10)
    assert lines[-1]["total_tokens"] == sum(line["num_tokens_read"] for line in lines[:6] + lines[8:])
    assert "rolled back to step 6, going on with the proteins behind it" in capsys.readouterr().err


def test_a_spike_is_told_of_left_out_or_rolled_back(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stability, "LEAST_REMEMBERED", 5)
    poison({begin_of_step(corpus, 9): 5.0})
    expected = {
        "tell": [*steps(1, 8), "tell 9", *steps(9, 12)],
        "skip": [*steps(1, 8), "skip 9", *steps(9, 12)],
        "roll-back": [*steps(1, 8), "roll-back 9", *steps(7, 12)],
    }
    for policy, told in expected.items():
        assert train(corpus, tmp_path / policy, f"stability.spike={policy}") == 0
        assert story(tmp_path / policy) == told


def test_a_run_that_stops_says_why_in_one_line_and_goes_on_by_another_policy(
    corpus: Path, tmp_path: Path, capsys
) -> None:
    poison({begin_of_step(corpus, 8): math.nan})
    run = tmp_path / "run"
    assert train(corpus, run, "stability.not_finite=stop") == 2
    line = capsys.readouterr().err
    assert line.startswith("error: step 8: loss nan") and line.count("\n") == 1
    assert "stopped after 0 of at most 3 roll-backs; go on with --resume and another stability.not_finite" in line
    assert story(run) == [*steps(1, 7), "stop 8"]
    assert train(corpus, run, "--resume", "stability.not_finite=skip") == 0
    assert story(run) == [*steps(1, 7), "skip 8", *steps(8, 12)]


def test_a_model_that_can_compute_nothing_any_more_stops_within_its_limits(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    bad = begin_of_step(corpus, 5)
    poison(dict.fromkeys(range(bad, bad + 1000), math.nan))
    more = ("stability.patience=2", "stability.most_roll_backs=1")
    assert train(corpus, tmp_path / "run", *more) == 2
    # Behind the checkpoint at step 3 step 4 is taken no more: its proteins are passed.
    assert story(tmp_path / "run") == [
        *steps(1, 4),
        *("skip 5", "skip 5", "roll-back 5"),
        *("skip 4", "skip 4", "stop 4"),
    ]
    assert "stopped after 1 of at most 1 roll-backs" in capsys.readouterr().err


def test_without_a_checkpoint_there_is_no_rolling_back(corpus: Path, tmp_path: Path) -> None:
    poison({0: math.nan})
    assert train(corpus, tmp_path / "run", "stability.not_finite=roll-back") == 2
    assert story(tmp_path / "run") == ["stop 1"]


@pytest.mark.parametrize("policy", ["skip", "roll-back"])
def test_a_run_asked_to_stop_at_any_batch_ends_with_the_bits_of_one_that_was_not(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    poison({begin_of_step(corpus, 8): math.nan})
    poisoned: Callable[..., Any] = vars(rank_loss)["batch_loss"]
    setting = f"stability.not_finite={policy}"
    assert train(corpus, tmp_path / "whole", setting) == 0
    expected = fingerprint(tmp_path / "whole")

    def stopping_at(number: int) -> Callable[..., Any]:
        calls: list[int] = []

        def loss(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            return poisoned(*arguments)

        return loss

    for number in (8, 9, 10, 11, 12):
        run = tmp_path / str(number)
        monkeypatch.setattr(rank_loss, "batch_loss", stopping_at(number))
        assert train(corpus, run, setting) == STOPPED_EXIT_CODE
        monkeypatch.setattr(rank_loss, "batch_loss", poisoned)
        assert train(corpus, run, setting, "--resume") == 0
        assert fingerprint(run) == expected, f"stopped at batch {number}"
        shutil.rmtree(run)


@pytest.mark.parametrize("policy", ["skip", "roll-back"])
def test_what_one_rank_meets_all_ranks_decide_about_alike(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    # The second batch of the fourth step: of two ranks' batches one of the other rank's.
    begin = begin_of_step(corpus, 4, accumulation=4)
    train_split = sample_corpus(tmp_path / "corpus")
    recipe = tiny_recipe()
    batches = Batches(train_split, Order(len(train_split), recipe.seed), recipe.objective, recipe.packing, recipe.seed)
    monkeypatch.setenv("POISONED_POSITIONS", str(batches.next_position(begin)))
    settings = ("accumulation=4", "dtype=fp32", "total_steps=6", f"stability.not_finite={policy}")
    losses = {}
    with forked_trainers(corpus) as trainers:
        for size in (1, 2):
            run = tmp_path / str(size)
            codes = trainers.run_ranks(pretrain_arguments(corpus, run, *settings), size)
            assert [code for code, _ in codes] == [0] * size
            losses[size] = [line["loss"] for line in read_journal(run) if line["kind"] == "train"]
    assert story(tmp_path / "1") == story(tmp_path / "2")
    assert story(tmp_path / "2")[3] == f"{policy} 4"
    assert losses[2] == pytest.approx(losses[1], rel=1e-6)
