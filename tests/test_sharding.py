"""Ranks that share out a model's weights, and layers computed again, learn what one process with all of it learns."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from openankh.errors import UserError
from openankh.pretraining.engine import Engine, engine_of
from openankh.pretraining.journal import read_journal
from openankh.pretraining.trainer import Trainer
from training_samples import (
    Trainers,
    fingerprint,
    forked_trainers,
    journal_without_timing,
    prepare_sample,
    pretrain_arguments,
    sample_corpus,
    tiny_recipe,
)

SETTINGS = ("accumulation=4", "dtype=fp32", "total_steps=6", "checkpoint_every=2", "model.d_ff=30")
"""Four ranks share 30 rows unevenly."""
OPTIMISERS = {
    # Muon rounds to bf16, so that in large steps the last bits of sums grow beyond 1e-6.
    "muon": ("optimiser.query_rate=0.5", "optimiser.matrix_learning_rate=0.005", "optimiser.weight_decay=0.01"),
    "adamw": ("optimiser.name=adamw", "optimiser.weight_decay=0.1"),
    "adafactor": ("optimiser.name=adafactor", "optimiser.beta1=0.9", "optimiser.weight_decay=0.1"),
}
SHARDED = ("--sharding", "full")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def trainers(corpus: Path) -> Iterator[Trainers]:
    with forked_trainers(corpus) as trainers:
        yield trainers


def run_of(trainers: Trainers, corpus: Path, run: Path, size: int, *more: str) -> Path:
    arguments = pretrain_arguments(corpus, run, *SETTINGS, *more)
    assert [code for code, _ in trainers.run_ranks(arguments, size)] == [0] * size
    return run


@pytest.fixture(scope="module")
def alone(corpus: Path, trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs of one process by each optimiser; to be looked at only."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: run_of(trainers, corpus, folder / name, 1, *changes) for name, changes in OPTIMISERS.items()}


@pytest.fixture(scope="module")
def sharded(corpus: Path, trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two ranks that share the weights, by Muon; to be looked at only."""
    run = tmp_path_factory.mktemp("sharded") / "run"
    return run_of(trainers, corpus, run, 2, *SHARDED, *OPTIMISERS["muon"])


def assert_same_course(ours: Path, theirs: Path, rel: float = 1e-6) -> None:
    """The same proteins in the same order, the same losses, training and validation alike."""
    pairs = list(zip(read_journal(ours), read_journal(theirs), strict=True))
    assert len(pairs) > 6
    for line, expected in pairs:
        for exact in ("kind", "step", "position", "num_residues_read", "num_tokens_read", "num_residues", "flops"):
            assert line.get(exact) == expected.get(exact)
        for rounded in ("loss", "residue_loss"):
            assert line.get(rounded) == pytest.approx(expected.get(rounded), rel=rel)
        if line["kind"] == "train":
            assert line["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=max(rel, 1e-4))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_ranks_that_share_weights_reach_the_losses_of_one_process(
    corpus: Path, trainers: Trainers, alone: dict[str, Path], tmp_path: Path, optimiser: str, size: int
) -> None:
    run = run_of(trainers, corpus, tmp_path / "run", size, *SHARDED, *OPTIMISERS[optimiser])
    assert_same_course(run, alone[optimiser])


def test_a_checkpoint_does_not_tell_whether_weights_were_shared(alone: dict[str, Path], sharded: Path) -> None:
    for name in ("checkpoints/step-00000006/model", "checkpoints/step-00000006/optimiser", "best/model"):
        ours, theirs = (load_file(run / f"{name}.safetensors") for run in (sharded, alone["muon"]))
        assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {n: (t.shape, t.dtype) for n, t in theirs.items()}
        distance = sum(float((ours[n].double() - theirs[n].double()).square().sum()) for n in ours)
        assert distance < 1e-4 * sum(float(tensor.double().square().sum()) for tensor in theirs.values())


SHARED_BY_2, BY_4, ALL_ON_4, ONE = (2, SHARDED), (4, SHARDED), (4, ()), (1, ())


@pytest.mark.parametrize(
    ("optimiser", "begun", "resumed"),
    [
        *(("muon", SHARED_BY_2, then) for then in (ONE, BY_4, ALL_ON_4)),
        *(("adafactor", SHARED_BY_2, then) for then in (ONE, BY_4)),
        ("adamw", SHARED_BY_2, ONE),
        ("muon", ONE, SHARED_BY_2),
        ("adafactor", ALL_ON_4, SHARED_BY_2),
    ],
)
def test_any_number_of_ranks_goes_on_with_a_run_sharing_weights_or_not(
    corpus: Path, trainers: Trainers, alone: dict[str, Path], tmp_path: Path, optimiser: str, begun, resumed
) -> None:
    arguments = pretrain_arguments(corpus, tmp_path / "run", *SETTINGS, *OPTIMISERS[optimiser])
    (size, how), (size_then, how_then) = begun, resumed
    codes = trainers.run_ranks([*arguments, *how], size, signal.SIGTERM, 150)
    assert {code for code, _ in codes} == {75}, codes
    assert [c for c, _ in trainers.run_ranks([*arguments, *how_then, "--resume"], size_then)] == [0] * size_then
    assert_same_course(tmp_path / "run", alone[optimiser])


def test_ranks_that_share_weights_give_the_same_bits_again_and_computed_again(
    corpus: Path, trainers: Trainers, sharded: Path, tmp_path: Path
) -> None:
    again = run_of(trainers, corpus, tmp_path / "again", 2, *SHARDED, "--recompute", *OPTIMISERS["muon"])
    assert fingerprint(again) == fingerprint(sharded)


def test_a_kill_of_either_rank_changes_no_bit(corpus: Path, trainers: Trainers, sharded: Path, tmp_path: Path) -> None:
    for guilty, moment in ((0, 150), (1, 8)):
        run = tmp_path / str(guilty)
        arguments = [*pretrain_arguments(corpus, run, *SETTINGS), *SHARDED, *OPTIMISERS["muon"]]
        codes = [code for code, _ in trainers.run_ranks(arguments, 2, signal.SIGKILL, moment, guilty)]
        assert codes[guilty] == -signal.SIGKILL
        resume = ["--resume"] if (run / "run.json").exists() else []
        assert [code for code, _ in trainers.run_ranks([*arguments, *resume], 2)] == [0, 0]
        assert fingerprint(run) == fingerprint(sharded)
        shutil.rmtree(run)


@pytest.mark.parametrize("size", [1, 2])
def test_bf16_products_with_fp32_sums_are_those_of_unshared_weights(
    corpus: Path, trainers: Trainers, tmp_path: Path, size: int
) -> None:
    numbers = ("dtype=bf16", *OPTIMISERS["muon"])
    plain = run_of(trainers, corpus, tmp_path / "plain", size, *numbers)
    shared = run_of(trainers, corpus, tmp_path / "shared", 2, *SHARDED, *numbers)
    assert_same_course(shared, plain, rel=1e-3)


def test_one_process_has_nobody_to_share_with(corpus: Path, trainers: Trainers, alone, tmp_path: Path) -> None:
    run = run_of(trainers, corpus, tmp_path / "run", 1, *SHARDED, *OPTIMISERS["adamw"])
    assert fingerprint(run) == fingerprint(alone["adamw"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_layers_computed_again_give_the_same_bits(tmp_path: Path, dtype: str) -> None:
    recipe, corpus = tiny_recipe(f"dtype={dtype}", "accumulation=2"), sample_corpus(tmp_path / "corpus")
    plain, again = (Trainer(recipe, corpus, torch.device("cpu"), engine=Engine(recompute=r)) for r in (False, True))
    assert list(plain.model.state_dict()) == list(again.model.state_dict())
    for _ in range(4):
        assert plain.update(1.0) == again.update(1.0)
    pairs = zip(plain.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_computing_again_keeps_less_for_the_way_back(tmp_path: Path) -> None:
    recipe, corpus = tiny_recipe("model.num_encoder_layers=6"), sample_corpus(tmp_path / "corpus")
    kept: dict[bool, int] = {}
    for recompute in (False, True):
        trainer = Trainer(recipe, corpus, torch.device("cpu"), engine=Engine(recompute=recompute))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.nbytes) or t, lambda t: t):
            trainer.loss.add_gradients(trainer.batches.at(0), 1.0, is_last=True)
        kept[recompute] = sum(sizes)
    assert kept[True] < kept[False] / 4


def test_journals_of_runs_computed_again_are_the_same(corpus: Path, trainers: Trainers, alone, tmp_path: Path) -> None:
    run = run_of(trainers, corpus, tmp_path / "run", 1, "--recompute", *OPTIMISERS["adafactor"])
    assert journal_without_timing(run) == journal_without_timing(alone["adafactor"])


@pytest.mark.skipif("OPENANKH_COMPILE_TESTS" not in os.environ, reason="takes a minute: set OPENANKH_COMPILE_TESTS=1")
@pytest.mark.filterwarnings("ignore")  # what the compiler itself imports is deprecated
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_layers_reach_the_same_losses(tmp_path: Path, recompute: bool) -> None:
    recipe, corpus = tiny_recipe("dtype=fp32", "accumulation=2"), sample_corpus(tmp_path / "corpus")
    engines = (Engine(), Engine(compile="on", recompute=recompute))
    plain, compiled = (Trainer(recipe, corpus, torch.device("cpu"), engine=engine) for engine in engines)
    for _ in range(4):
        assert compiled.update(1e-2).loss == pytest.approx(plain.update(1e-2).loss, rel=1e-5)


def test_compiling_without_a_compiler_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C\\+\\+ compiler 'no-such-compiler'"):
        Engine(compile="on").compiles(torch.device("cpu"))
    assert not Engine().compiles(torch.device("cpu"))


@pytest.mark.parametrize(("words", "told"), [(("half", "auto"), "--sharding half"), (("full", "yes"), "--compile yes")])
def test_words_that_name_no_engine_get_one_line(words: tuple[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        engine_of(words[0], False, words[1])
