"""Several processes train as one does: the same proteins, the same losses, any number of them goes on with a run."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from openankh.errors import UserError
from openankh.order import Order
from openankh.packing import Batches, PackingSettings, Turns
from openankh.pretraining.journal import read_journal
from openankh.pretraining.ranks import ALONE, joined_ranks
from openankh.pretraining.recipes import denoising_and_completion
from training_samples import Trainers, fingerprint, forked_trainers, prepare_sample, pretrain_arguments, sample_corpus

NUM_KILLS = int(os.environ.get("OPENANKH_KILLS", "4"))
"""Moments at which one of two ranks is killed; more make a campaign."""

SETTINGS = ("accumulation=4", "dtype=fp32", "total_steps=8", "checkpoint_every=3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def trainers(corpus: Path) -> Iterator[Trainers]:
    with forked_trainers(corpus) as trainers:
        yield trainers


@pytest.fixture(scope="module")
def runs(corpus: Path, trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Finished runs of 1, 2 and 4 ranks; to be looked at only."""
    runs = {size: tmp_path_factory.mktemp("runs") / f"of{size}" for size in (1, 2, 4)}
    for size, run in runs.items():
        codes = trainers.run_ranks(pretrain_arguments(corpus, run, *SETTINGS), size)
        assert [code for code, _ in codes] == [0] * size
    return runs


def losses(run: Path, kind: str = "train") -> list[float]:
    return [line["loss"] for line in read_journal(run) if line["kind"] == kind]


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_read_the_same_proteins_and_reach_the_same_losses(runs: dict[int, Path], size: int) -> None:
    alone, together = (read_journal(runs[number]) for number in (1, size))
    assert len(alone) == len(together)
    for ours, theirs in zip(together, alone, strict=True):
        for exact in ("kind", "step", "position", "num_residues_read", "num_tokens_read", "num_residues", "flops"):
            assert ours.get(exact) == theirs.get(exact)
        for rounded in ("loss", "residue_loss"):
            assert ours.get(rounded) == pytest.approx(theirs.get(rounded), rel=1e-6)


@pytest.mark.parametrize("more", [(), ("--recompute",)], ids=["as before", "layers computed again"])
def test_two_ranks_give_the_same_bits_again(
    corpus: Path, trainers: Trainers, runs: dict[int, Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    codes = trainers.run_ranks(pretrain_arguments(corpus, tmp_path / "run", *SETTINGS, *more), 2)
    assert [code for code, _ in codes] == [0, 0]
    assert fingerprint(tmp_path / "run") == fingerprint(runs[2])


@pytest.mark.parametrize("size", [1, 4])
def test_another_number_of_ranks_goes_on_with_a_run_of_two(
    corpus: Path, trainers: Trainers, runs: dict[int, Path], tmp_path: Path, size: int
) -> None:
    run = tmp_path / "run"
    arguments = pretrain_arguments(corpus, run, *SETTINGS)
    (_, num_events), _ = trainers.run_ranks(arguments, 2, signal.SIGTERM, 260)
    assert 0 < len(losses(run)) < 8, num_events
    assert [code for code, _ in trainers.run_ranks([*arguments, "--resume"], size)] == [0] * size
    assert losses(run) == pytest.approx(losses(runs[1]), rel=1e-6)
    assert losses(run, "valid") == pytest.approx(losses(runs[1], "valid"), rel=1e-6)


def test_a_kill_of_either_rank_at_any_moment_changes_no_bit(
    corpus: Path, trainers: Trainers, runs: dict[int, Path], tmp_path: Path
) -> None:
    expected = fingerprint(runs[2])
    counts = trainers.run_ranks(pretrain_arguments(corpus, tmp_path / "counted", *SETTINGS), 2)
    generator = random.Random(22)
    for number in range(NUM_KILLS):
        run, guilty = tmp_path / str(number), number % 2
        arguments = pretrain_arguments(corpus, run, *SETTINGS)
        moment = int((number + generator.random()) / NUM_KILLS * (counts[guilty][1] - 1)) + 1
        codes = [code for code, _ in trainers.run_ranks(arguments, 2, signal.SIGKILL, moment, guilty)]
        assert codes[guilty] == -signal.SIGKILL
        # The other one had finished, or tells that it lost this one, or still waited to be joined and was killed too.
        assert codes[1 - guilty] in (0, 2, -signal.SIGKILL)
        resume = ["--resume"] if (run / "run.json").exists() else []
        assert [code for code, _ in trainers.run_ranks([*arguments, *resume], 2)] == [0, 0]
        assert fingerprint(run) == expected, f"rank {guilty} killed at event {moment}"
        shutil.rmtree(run)


def test_ranks_that_do_not_divide_a_steps_batches_are_refused(corpus: Path, trainers: Trainers, tmp_path: Path) -> None:
    arguments = pretrain_arguments(corpus, tmp_path / "run", "accumulation=3")
    assert [code for code, _ in trainers.run_ranks(arguments, 2)] == [2, 2]
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_fault_of_the_first_rank_ends_all(corpus: Path, trainers: Trainers, runs: dict[int, Path]) -> None:
    arguments = pretrain_arguments(corpus, runs[1], *SETTINGS)  # there is a run already
    assert [code for code, _ in trainers.run_ranks(arguments, 2)] == [2, 2]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_turns_deal_out_each_batch_once(tmp_path: Path, size: int) -> None:
    corpus = sample_corpus(tmp_path / "corpus")
    settings = PackingSettings(tokens=600, crop=100)
    batches = Batches(corpus, Order(len(corpus), 0), denoising_and_completion(), settings, 5)
    plain, position = [], 0
    for _ in range(6):
        plain.append(batches.at(position))
        position = plain[-1].next_position
    for first, second in pairwise(plain):
        assert batches.next_position(first.position) == second.position
    begin = 0
    for start in range(0, 6, size):
        dealt = [Turns(batches, rank, size).at(begin) for rank in range(size)]
        for ours, theirs in zip(dealt, plain[start : start + size], strict=True):
            assert ours.position == theirs.position
            assert np.array_equal(ours.targets.ids, theirs.targets.ids)
        assert {batch.next_position for batch in dealt} == {plain[start + size - 1].next_position}
        begin = dealt[0].next_position


def test_alone_nothing_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks("cpu") as ranks:
        assert ranks is ALONE
        assert (ranks.sums([1.5]), ranks.told_by_first({"a": 1}), ranks.any(False)) == ([1.5], {"a": 1}, False)


def test_an_environment_that_makes_no_sense_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE='two'"), joined_ranks("cpu"):
        pass
