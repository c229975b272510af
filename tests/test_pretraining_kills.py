"""A run that is killed, stopped or sliced at any moment and resumed ends with the bits of one that never stopped."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from openankh.pretraining.stop_signals import STOPPED_EXIT_CODE
from training_samples import (
    Trainers,
    fingerprint,
    forked_trainers,
    journal_without_timing,
    prepare_sample,
    pretrain_arguments,
)

NUM_KILLS = int(os.environ.get("OPENANKH_KILLS", "10"))
"""Moments at which a run is killed; more make a campaign."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def trainers(corpus: Path) -> Iterator[Trainers]:
    with forked_trainers(corpus) as trainers:
        yield trainers


@pytest.fixture(scope="module")
def whole(corpus: Path, trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """The end of a run that never stopped, and how many events it had."""
    run = tmp_path_factory.mktemp("whole") / "run"
    code, num_events = trainers.run(pretrain_arguments(corpus, run))
    assert code == 0
    return fingerprint(run), num_events


def begin_or_resume(corpus: Path, run: Path) -> list[str]:
    """The command that goes on with whatever a kill has left."""
    return pretrain_arguments(corpus, run, *(["--resume"] if (run / "run.json").exists() else []))


def test_a_run_gives_the_same_bits_again(corpus: Path, trainers: Trainers, whole, tmp_path: Path) -> None:
    assert trainers.run(pretrain_arguments(corpus, tmp_path / "run"))[0] == 0
    assert fingerprint(tmp_path / "run") == whole[0]


def test_a_kill_at_any_moment_changes_no_bit(corpus: Path, trainers: Trainers, whole, tmp_path: Path) -> None:
    expected, num_events = whole
    generator = random.Random(20)
    for number in range(NUM_KILLS):
        run = tmp_path / str(number)
        # One moment from each tenth of the run: first steps, savings, validations, the last saving.
        moment = int((number + generator.random()) / NUM_KILLS * num_events) + 1
        assert trainers.run(pretrain_arguments(corpus, run), signal.SIGKILL, moment)[0] == -signal.SIGKILL
        assert trainers.run(begin_or_resume(corpus, run))[0] == 0
        assert fingerprint(run) == expected, f"killed at event {moment} of {num_events}"
        shutil.rmtree(run)


def test_a_run_killed_time_after_time_repeats_and_skips_nothing(
    corpus: Path, trainers: Trainers, whole, tmp_path: Path
) -> None:
    expected, num_events = whole
    generator = random.Random(21)
    num_kills = 0
    while num_kills < 10:
        moment = generator.randint(1, num_events // 4)
        code, _ = trainers.run(begin_or_resume(corpus, tmp_path / "run"), signal.SIGKILL, moment)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        num_kills += 1
    assert num_kills >= 3
    assert trainers.run(begin_or_resume(corpus, tmp_path / "run"))[0] == 0
    assert fingerprint(tmp_path / "run") == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint_and_code_75(
    corpus: Path, trainers: Trainers, whole, tmp_path: Path, number: signal.Signals
) -> None:
    expected, num_events = whole
    code, _ = trainers.run(pretrain_arguments(corpus, tmp_path / "run"), number, num_events // 2)
    assert code == STOPPED_EXIT_CODE == 75
    last_step = journal_without_timing(tmp_path / "run")[-1]["step"]
    assert 0 < last_step < 12
    assert (tmp_path / "run" / "checkpoints" / f"step-{last_step:08}").is_dir()
    assert trainers.run(begin_or_resume(corpus, tmp_path / "run"))[0] == 0
    assert fingerprint(tmp_path / "run") == expected


def test_sigterm_at_any_moment_changes_no_bit(corpus: Path, trainers: Trainers, whole, tmp_path: Path) -> None:
    expected, num_events = whole
    generator = random.Random(22)
    for number in range(1, NUM_KILLS):
        run = tmp_path / str(number)
        moment = int((number + generator.random()) / NUM_KILLS * num_events)
        code, _ = trainers.run(pretrain_arguments(corpus, run), signal.SIGTERM, moment)
        assert code in (STOPPED_EXIT_CODE, 0)
        assert trainers.run(begin_or_resume(corpus, run))[0] == 0
        assert fingerprint(run) == expected, f"stopped at event {moment} of {num_events}"
        shutil.rmtree(run)


def test_resuming_a_finished_run_changes_nothing(corpus: Path, trainers: Trainers, whole, tmp_path: Path) -> None:
    assert trainers.run(pretrain_arguments(corpus, tmp_path / "run"))[0] == 0
    assert trainers.run(begin_or_resume(corpus, tmp_path / "run"))[0] == 0
    assert fingerprint(tmp_path / "run") == whole[0]
