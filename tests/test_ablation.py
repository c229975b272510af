"""`openankh ablate`: equal compute, a common measure, one table; stopped anywhere it goes on and repeats nothing."""

import json
import math
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openankh import cli
from openankh.ablation import campaign, findings, measuring
from openankh.ablation.compute import flops_a_step, flops_in
from openankh.ablation.findings import Noise, read_findings
from openankh.ablation.masked_loss import composition_loss, masked_loss
from openankh.ablation.rank_correlation import rank_correlation
from openankh.corpus import Corpus
from openankh.model import Ankh
from openankh.objectives import Objective
from openankh.pretraining import training_run
from openankh.pretraining.experiments import Experiment, experiment_named, experiments
from openankh.pretraining.initialisation import initialise
from openankh.pretraining.settings import changed
from openankh.pretraining.trainer import Trainer
from openankh.tasks.quick_probes import Metric, ProbeScore, ProbeTask
from training_samples import Trainers, forked_trainers, prepare_sample

SETTINGS = (
    "model.d_model=24", "model.d_ff=32", "model.d_kv=8", "packing.tokens=256", "packing.crop=64", "valid_tokens=600",
    "packing.length_multiple=1", "warmup_steps=2", "checkpoint_every=3", "model.num_encoder_layers=2",
    "model.num_decoder_layers=1",
)  # fmt: skip
FLOPS = 5e8
"""Some ten steps of these settings."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def trainers(corpus: Path) -> Iterator[Trainers]:
    with forked_trainers(corpus) as trainers:
        yield trainers


def arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    """The command line of a small ablation."""
    own = ("--corpus", str(corpus), "--out", str(out), "--device", "cpu", "--quiet")
    return ["ablate", *SETTINGS, *own, "--flops", str(FLOPS), *more]


def numbers(out: Path) -> dict[str, Any]:
    """Everything an ablation found that no clock decides."""
    content = json.loads((out / "ablation-table.json").read_text())
    for row in content["rows"]:
        del row["minutes"]
    del content["record"]["environment"]
    return content


def stand_in_probes(embed: Callable[[Sequence[str]], list[np.ndarray]], data: Path, **options: object):
    """Scores that depend on the model, for as long as embedding works."""
    (rows_LD,) = embed(["MKTAYIAKQR"])
    assert rows_LD.shape == (10, 24)
    share = float(np.abs(rows_LD).mean() % 1)
    return tuple(ProbeScore(task, metric, share / n, 10 * n) for n, (task, metric) in enumerate(TASKS, start=1))


TASKS: tuple[tuple[ProbeTask, Metric], ...] = (
    ("secondary-structure", "Q3"),
    ("contact", "P@L/5"),
    ("localisation", "accuracy"),
    ("fold", "accuracy"),
)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation of five experiments, the baseline three times, probed."""
    folder = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "quick_probes", stand_in_probes)
        patch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)  # takes its time on purpose
        more = ("--only", "exp0,exp6,exp8,9,exp20,exp8", "--data", str(folder))
        assert cli.main(arguments(corpus, folder / "out", *more)) == 0
    return folder / "out"


def test_every_run_takes_the_same_compute(finished: Path) -> None:
    found = read_findings(finished)
    assert found
    trained = [row for row in found.rows if not row.is_control]
    assert {row.name: len(row.seeds) for row in trained} == {"exp0": 1, "exp6": 1, "exp8": 1, "exp9": 1, "exp20": 3}
    for row in trained:
        assert abs(row.flops - FLOPS) < 0.6 * row.flops / row.steps, "further from the budget than half a step"
    steps = {row.name: row.steps for row in trained}
    assert steps["exp0"] < steps["exp8"], "reconstructing the whole protein costs more a step"


def test_a_step_costs_what_training_says_it_does(corpus: Path) -> None:
    recipe = changed(experiment_named("exp8", "tiny").recipe, SETTINGS)
    proteins = Corpus.open(corpus)
    trainer = Trainer(recipe, proteins, torch.device("cpu"))
    made = [trainer.update(0.0).flops for _ in range(30)]
    assert flops_a_step(recipe, proteins) == pytest.approx(np.mean(made), rel=0.03)


def test_table_and_json_hold_the_same_numbers(finished: Path) -> None:
    table, content = (finished / "ablation-table.md").read_text(), numbers(finished)
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if re.match(r"\| (exp\d|untrained)", line)]
    assert len(lines) == len(content["rows"]) == 7
    for line, row in zip(lines, content["rows"], strict=True):
        shown = dict(zip(("name", "what", "seeds", "parameters", "steps"), line, strict=False))
        assert (shown["name"], shown["what"]) == (row["name"], row["what"])
        assert [int(shown[name].replace(",", "")) for name in ("seeds", "parameters", "steps")] == [
            len(row["seeds"]),
            row["num_parameters"],
            row["steps"],
        ]
        assert (line[7], line[8].rstrip(" *")) == (f"{row['masked_loss']:.4f}", f"{row['own_loss']:.4f}")
        assert line[9:13] == [f"{row['scores'][task]:.2f}" for task, _ in TASKS]
        assert line[13] == f"{row['average']:.2f}"
        assert row["average"] == pytest.approx(np.mean(list(row["scores"].values())))
    assert f"{content['loss_noise']['deviation']:.4f}" in table
    assert f"{content['loss_correlation']['rho']:+.2f} over 5 experiments" in table


def test_controls_are_untrained_and_own_losses_of_other_objectives_are_marked(finished: Path) -> None:
    content = {row["name"]: row for row in numbers(finished)["rows"]}
    for name in ("untrained-published", "untrained-eager"):
        assert content[name]["is_control"] and content[name]["steps"] == 0
    assert {name for name, row in content.items() if row["shares_objective"] and not row["is_control"]} == {
        "exp8",
        "exp20",
    }


def test_the_plot_is_drawn(finished: Path) -> None:
    assert (finished / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_finished_experiments_are_never_run_again(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    for name in ("pretrain", "measured_probes", "measured_losses"):
        monkeypatch.setattr(campaign, name, lambda *_: pytest.fail("something was done again"))
    more = ("--only", "exp0,exp6,exp8,9,exp20", "--data", str(tmp_path))
    assert cli.main(arguments(corpus, tmp_path / "out", *more)) == 0
    assert numbers(tmp_path / "out") == numbers(finished)


def test_an_ablation_killed_anywhere_ends_with_the_same_numbers(
    corpus: Path, trainers: Trainers, tmp_path: Path
) -> None:
    more = ("--only", "exp4,exp20", "--baseline-seeds", "1", "--no-plot")
    code, num_events = trainers.run(arguments(corpus, tmp_path / "whole", *more))
    assert code == 0
    command = arguments(corpus, tmp_path / "killed", *more)
    # Each time after a quarter of all events, of what is left: controls, training, saving, measuring, writing up.
    for _ in range(4):
        code, _ = trainers.run(command, signal.SIGKILL, num_events // 4)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert trainers.run(command)[0] == 0
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")


def test_a_signal_stops_it_with_a_checkpoint(corpus: Path, trainers: Trainers, tmp_path: Path) -> None:
    command = arguments(corpus, tmp_path / "out", "--only", "exp4", "--no-plot")
    code, num_events = trainers.run(command)
    assert code == 0
    shutil.rmtree(tmp_path / "out")
    stopped, _ = trainers.run(command, signal.SIGTERM, num_events // 2)
    assert stopped == 75
    assert trainers.run(command)[0] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--flops", "3e9"), "begun with --flops 5e"),
        (("--scale", "small"), "--scale tiny"),
        (("--probe-size", "full"), "--probe-size quick"),
        (("packing.crop=48",), "another packing.crop"),
        (("optimiser.learning_rate=0.1",), "another optimiser.learning_rate"),
    ],
)
def test_changed_settings_are_refused_with_their_name(
    corpus: Path, finished: Path, change: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in finished.iterdir())
    command = arguments(corpus, finished, "--only", "exp8")
    if change[0] == "--flops":
        command = [word for word in command if word not in ("--flops", str(FLOPS))]
    assert cli.main([*command, *change]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert sorted(path.name for path in finished.iterdir()) == before


def test_minutes_are_measured_once_and_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "flops_in", lambda minutes, *_: minutes * FLOPS)
    command = [word for word in arguments(corpus, tmp_path / "out", "--no-plot") if word not in ("--flops", str(FLOPS))]
    assert cli.main([*command, "--only", "exp4", "--minutes-each", "2"]) == 0
    monkeypatch.setattr(campaign, "flops_in", lambda *_: pytest.fail("measured again"))
    assert cli.main([*command, "--only", "exp4,exp8"]) == 0
    found = read_findings(tmp_path / "out")
    assert found and found.record.budget == 2 * FLOPS
    assert [row.flops for row in found.rows[:2]] == pytest.approx([2 * FLOPS] * 2, rel=0.05)
    assert cli.main([*command, "--only", "exp4", "--minutes-each", "3"]) == 2
    assert "begun with --minutes-each 2" in capsys.readouterr().err


def test_a_minute_is_worth_what_is_computed_in_it(corpus: Path) -> None:
    recipe = changed(experiment_named("exp8", "tiny").recipe, SETTINGS)
    assert flops_in(0.001, recipe, Corpus.open(corpus), "cpu") > 0


def test_another_corpus_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    (tmp_path / "few.fasta").write_text("".join(f">{n}\nMKTAYIAK{'ACDEF'[n % 5] * (n + 1)}\n" for n in range(40)))
    assert cli.main(["prepare", str(tmp_path / "few.fasta"), "-o", str(tmp_path / "c"), "--holdout", "0.3", "-q"]) == 0
    capsys.readouterr()
    assert cli.main(arguments(tmp_path / "c", finished, "--only", "exp8")) == 2
    assert "another --corpus" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--only", "exp8,exq20"), "did you mean 'exp20'"),
        (("--only", "exp23"), "give --corpus-90"),
        (("--only", ","), "--only names no experiment"),
        (("--only", "exp8", "packing.corp=3"), "did you mean 'packing.crop'"),
        (("--only", "exp8", "seed=3"), "--seeds"),
        (("--only", "exp7,exp8", "objective.mask.rate=0.2"), "exp7 and exp8 are the same run"),
        (("--only", "exp8", "--minutes-each", "3"), "--flops and --minutes-each"),
        (("--only", "exp8", "--seeds", "0"), "--seeds 0"),
        (("--only", "exp8", "warmup_steps=500"), "warm-up alone takes 500"),
        (("--only", "exp8", "--data", "/no/such/folder"), "--data /no/such/folder: no such folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    corpus: Path, tmp_path: Path, more: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(corpus, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_matplotlib_is_told_before_anything_is_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(arguments(corpus, tmp_path / "out", "--only", "exp8")) == 2
    assert "--no-plot" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_only_experiments_that_have_no_corpus_are_left_out_by_name(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    small = ("packing.tokens=130", "packing.crop=64")
    assert cli.main(["ablate", *small, "--corpus", str(corpus), "--out", str(out), "--plan", "--json"]) == 0
    shown = capsys.readouterr()
    assert "exp23 left out" in shown.err and "exp25 left out" in shown.err
    runs = [row["run"] for row in json.loads(shown.out)]
    assert len(runs) == 24 + 2 and runs.count("exp20-seed2") == 1
    assert not out.exists()


def network(experiment: Experiment) -> tuple[Ankh, Objective]:
    recipe = changed(experiment.recipe, SETTINGS)
    model = Ankh(recipe.model)
    initialise(model, recipe.vocab, "published", 0)
    (objective,) = recipe.objectives
    return model, objective


@pytest.mark.parametrize("experiment", experiments("tiny")[:10], ids=lambda each: each.name)
def test_a_model_that_knows_nothing_has_the_same_masked_loss_in_every_presentation(
    experiment: Experiment, corpus: Path
) -> None:
    model, objective = network(experiment)
    torch.nn.init.zeros_(model.lm_head.weight)
    valid = Corpus.open(corpus, "valid")
    loss = masked_loss(model, valid, objective, crop=64, max_tokens=400)
    assert loss.loss == pytest.approx(math.log(len(valid.vocab.residue_ids)), rel=1e-6)
    assert (
        loss.num_residues == masked_loss(*network(experiments("tiny")[4])[:1], valid, objective, 64, 400).num_residues
    )


@pytest.mark.parametrize("number", [0, 3, 4, 6])
def test_the_masked_loss_does_not_depend_on_the_batch(number: int, corpus: Path) -> None:
    model, objective = network(experiments("tiny")[number])
    valid = Corpus.open(corpus, "valid")
    losses = [masked_loss(model, valid, objective, 64, 600, batch_tokens).loss for batch_tokens in (1, 200, 10_000)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_residue_frequencies_alone_get_the_entropy_of_the_composition(corpus: Path) -> None:
    train, valid = Corpus.open(corpus), Corpus.open(corpus, "valid")
    loss = composition_loss(train, train, crop=10_000, max_tokens=10**9)
    share = np.bincount(train.gather(np.arange(len(train)))[0]) / train.num_residues
    entropy = -sum(p * math.log(p) for p in share if p)
    assert loss == pytest.approx(entropy, rel=0.02)
    assert 0 < composition_loss(train, valid, crop=64, max_tokens=400) < math.log(len(valid.vocab.residue_ids))


def test_rank_correlations_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for num_pairs in (5, 12, 24):
        ours, theirs = rng.normal(size=num_pairs), rng.integers(0, 6, num_pairs).astype(float)
        found = rank_correlation(ours, theirs)
        assert found
        expected = stats.spearmanr(ours, theirs)
        assert found.rho == pytest.approx(expected.statistic)
        assert found.low <= found.rho <= found.high
        if num_pairs > 5:
            assert found.chance == pytest.approx(expected.pvalue, abs=0.03)
    perfect = rank_correlation(np.arange(8.0), np.arange(8.0) ** 3)
    assert perfect and perfect.rho == 1 and perfect.chance < 0.001
    assert rank_correlation(np.arange(3.0), np.arange(3.0)) is None
    assert rank_correlation(np.ones(9), np.arange(9.0)) is None


def test_noise_is_pooled_over_experiments_with_several_seeds() -> None:
    stats = pytest.importorskip("scipy.stats")
    noise = findings._noise([[1.0], [1.0, 3.0], [2.0, 4.0, 6.0]])
    assert noise and noise.num_free == 3
    assert noise.deviation == pytest.approx(math.sqrt((2.0 + 8.0) / 3))
    assert findings._noise([[1.0], [2.0]]) is None
    for num_free in (1, 2, 10, 11, 30):
        factor = replace(Noise(1.0, num_free)).smallest_difference
        assert factor == pytest.approx(stats.t.ppf(0.975, num_free) * math.sqrt(2), rel=0.003)
