"""`openankh pretrain` as its user meets it: what it leaves, what it refuses, time budgets, slices, full disks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import openankh.files
from openankh import cli
from openankh.checkpoint import load_model
from openankh.inspection import inspect
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining import training_run
from openankh.pretraining.evaluation import evaluate
from openankh.pretraining.journal import read_journal
from openankh.pretraining.pace import CALIBRATION_STEPS, WARM_UP_STEPS, Pace
from openankh.pretraining.progress import PlainProgress, Recent
from openankh.pretraining.run_options import RunOptions, Summary
from openankh.pretraining.schedule import Schedule, StepPlan
from openankh.pretraining.trainer import Trainer
from openankh.pretraining.training_run import pretrain
from openankh.vocab import ankh_vocab
from training_samples import (
    fingerprint,
    prepare_sample,
    pretrain_arguments,
    refused,
    tiny_recipe,
)

SAMPLE = Path(__file__).parent / "data" / "sample.fasta"
OBJECTIVE = "1-gram span partial demasking"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(autouse=True)
def _quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended; to be looked at only."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert cli.main(pretrain_arguments(corpus, run, "--quiet", "--licence", "CC-BY-4.0")) == 0
    return run


# What a run leaves.


def test_the_journal_tells_each_step_and_each_validation(finished: Path) -> None:
    lines = read_journal(finished)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 13))
    assert [line["step"] for line in lines if line["kind"] == "valid"] == [5, 10, 12]
    train, valid = lines[0], lines[-1]
    assert {"loss", "residue_loss", "gradient_norm", "learning_rate_factor", "position", "total_tokens"} < train.keys()
    assert train["timing"].keys() == {"seconds", "tokens_a_second", "flops_utilisation", "peak_flops", "total_steps"}
    speed = train["flops"] * train["timing"]["tokens_a_second"] / train["num_tokens_read"]
    assert train["timing"]["flops_utilisation"] == pytest.approx(speed / train["timing"]["peak_flops"])
    assert valid["objective"] == OBJECTIVE
    assert {"loss", "residue_loss", "perplexity", "num_residues"} < valid.keys()


def test_tensorboard_shows_each_objective_by_its_name(finished: Path) -> None:
    (events,) = (finished / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"train/flops_utilisation" in content
    assert b"valid/1-gram_span_partial_demasking/perplexity" in content


def test_the_best_model_opens_and_tells_what_it_was_made_of(finished: Path) -> None:
    checkpoint = load_model(finished / "best")
    assert checkpoint.provenance is not None
    assert (checkpoint.provenance.name, checkpoint.provenance.licence) == ("openankh-micro", "CC-BY-4.0")
    best = min((line for line in read_journal(finished) if line["kind"] == "valid"), key=lambda line: line["loss"])
    training = checkpoint.provenance.training
    assert (training["step"], training["perplexity"]) == (best["step"], pytest.approx(best["perplexity"]))
    assert training["recipe"]["packing"]["crop"] == 64
    assert training["corpus_fingerprint"] == json.loads((finished / "run.json").read_text())["corpus_fingerprint"]


def test_info_tells_how_a_run_stands(finished: Path) -> None:
    facts = inspect(str(finished)).facts
    assert (facts["recipe"], facts["step"], facts["total_steps"]) == ("micro", 12, 12)
    assert facts["validation"]["objective"] == OBJECTIVE
    assert facts["speed"].keys() == {"tokens_a_second", "flops_utilisation"}
    assert facts["best_model"] == str(finished / "best")


def test_the_result_is_told_as_text_and_as_json(corpus: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--json")) == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert (summary["finished"], summary["step"], summary["best"]) == (True, 12, str(tmp_path / "run" / "best"))
    assert summary["tokens"] == read_journal(tmp_path / "run")[-2]["total_tokens"]
    assert "perplexity of hidden residues" in shown.err
    assert "finished: the model is" in shown.err
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--resume", "--quiet")) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "perplexity  " in shown.out


def test_a_corpus_without_validation_keeps_the_newest_model(tmp_path: Path) -> None:
    prepare([SAMPLE], tmp_path / "corpus", PrepareOptions())
    assert cli.main(pretrain_arguments(tmp_path / "corpus", tmp_path / "run", "--quiet")) == 0
    provenance = load_model(tmp_path / "run" / "best").provenance
    assert provenance is not None and provenance.training["step"] == 12


def test_list_shows_all_recipes_and_settings_those_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrain", "--list", "--json"]) == 0
    rows = {row["recipe"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ankh_base"]["parameters"] == 736_453_632
    assert cli.main(["pretrain", "micro", "seed=5", "--settings", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert (settings["seed"], settings["optimiser.name"]) == (5, "muon")


# What it refuses.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nanoo"], "did you mean 'nano'?"),
        (["nano", "sead=1"], "did you mean 'seed'?"),
        (["nano", "seed=x"], "seed=x: give a whole number"),
        (["nano", "--corpsu", "x"], "--corpus"),
        (["nano"], "--corpus CORPUS"),
        (["nano", "--corpus", "CORPUS"], "--out RUN"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--minutes", "0"], "--minutes 0.0: give a number"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--slice-minutes", "-1"], "--slice-minutes -1.0: give"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--threads", "0"], "--threads 0: give at least 1"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--device", "gpu"], "--device gpu: give auto, cpu, cuda"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--device", "meta"], "--device meta: give auto, cpu, cuda"),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--device", "cuda:99"], "--device cuda:99: "),
        (["nano", "--corpus", "CORPUS", "--out", "RUN", "--resume"], "no run to resume here"),
        (["ankh_base", "--corpus", "CORPUS", "--out", "RUN"], "prepare it with --vocab ankh"),
        (["nano", "--corpus", "MISSING", "--out", "RUN"], "MISSING"),
    ],
)
def test_what_cannot_be_begun_gets_one_line_and_leaves_nothing(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    places = {"CORPUS": str(corpus), "RUN": str(tmp_path / "run"), "MISSING": str(tmp_path / "MISSING")}
    line = refused(capsys, ["pretrain", *(places.get(word, word) for word in arguments)])
    assert told in line
    assert not (tmp_path / "run").exists()


def test_a_corpus_of_another_vocabulary_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = prepare_sample(tmp_path / "corpus", ankh_vocab())
    assert "prepare it with --vocab openankh" in refused(capsys, pretrain_arguments(other, tmp_path / "run"))


def test_a_run_is_never_written_over(corpus: Path, finished: Path, tmp_path: Path, capsys) -> None:
    before = fingerprint(finished)
    assert "go on with --resume" in refused(capsys, pretrain_arguments(corpus, finished))
    assert fingerprint(finished) == before
    (tmp_path / "run" / "best").mkdir(parents=True)
    assert "holds 'best', which is of no run" in refused(capsys, pretrain_arguments(corpus, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["seed=3"], "was begun with another seed;"),
        (["packing.crop=32", "optimiser.name=adamw"], "was begun with another optimiser.name, packing.crop;"),
        (["--minutes", "3"], "was begun without --minutes, not --minutes 3"),
    ],
)
def test_resuming_with_a_change_is_refused_naming_it(
    corpus: Path, finished: Path, capsys: pytest.CaptureFixture[str], changes: list[str], told: str
) -> None:
    assert told in refused(capsys, [*pretrain_arguments(corpus, finished, "--resume"), *changes])


def test_resuming_another_recipe_or_corpus_is_refused(corpus: Path, finished: Path, tmp_path: Path, capsys) -> None:
    arguments = ["pretrain", "nano", "--corpus", str(corpus), "--out", str(finished), "--resume"]
    assert "was begun with recipe 'micro', not 'nano'" in refused(capsys, arguments)
    prepare([SAMPLE], tmp_path / "corpus", PrepareOptions())
    refusal = refused(capsys, pretrain_arguments(tmp_path / "corpus", finished, "--resume"))
    assert "was begun on another corpus" in refusal


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "not valid JSON"), ('{"format": "x"}', "not a record"), ('{"format": "openankh-run"}', "its version is")],
)
def test_a_damaged_record_is_told(corpus: Path, tmp_path: Path, capsys, content: str, told: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert told in refused(capsys, pretrain_arguments(corpus, tmp_path, "--resume"))


HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


def test_a_run_in_use_is_left_alone(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert "is being trained by process" in refused(capsys, pretrain_arguments(corpus, tmp_path))
        holder.communicate("\n")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_disk_too_small_is_told_before_anything_is_trained(corpus: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(openankh.files, "free_bytes", lambda path: 100_000)
    line = refused(capsys, pretrain_arguments(corpus, tmp_path / "run", "--quiet"))
    assert "bytes needed, 100,000 free" in line
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_disk_that_fills_up_stops_the_run_and_room_lets_it_go_on(
    corpus: Path, finished: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    free = openankh.files.free_bytes
    full = lambda path: 1000 if "step-00000006" in str(path) else free(path)  # noqa: E731
    monkeypatch.setattr(openankh.files, "free_bytes", full)
    assert "step-00000006" in refused(capsys, pretrain_arguments(corpus, tmp_path / "run", "--quiet"))
    monkeypatch.setattr(openankh.files, "free_bytes", free)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--resume")) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(finished)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_told_and_the_one_before_gives_the_same_bits(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    flip_a_bit(tmp_path / "run" / "checkpoints" / "step-00000012" / "optimiser.safetensors")
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--resume")) == 0
    told = capsys.readouterr().err
    assert "step-00000012 is not used: optimiser.safetensors has been altered" in told
    assert "going on from" in told and "step-00000009" in told
    assert fingerprint(tmp_path / "run") == fingerprint(finished)


def test_a_damaged_corpus_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    tokens = max((tmp_path / "corpus" / "valid").iterdir(), key=lambda path: path.stat().st_size)
    flip_a_bit(tokens)
    assert tokens.name in refused(capsys, pretrain_arguments(tmp_path / "corpus", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_training_outside_the_main_thread_works_without_signals(corpus: Path, tmp_path: Path) -> None:
    summaries: list[Summary] = []
    options = RunOptions(corpus, tmp_path / "run")
    recipe = tiny_recipe("total_steps=2")
    thread = threading.Thread(target=lambda: summaries.append(pretrain(recipe, options, PlainProgress())))
    thread.start()
    thread.join()
    assert summaries[0].finished


def test_another_machine_or_number_of_threads_is_told_on_resuming(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["environment"]["threads"] = 7
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--resume")) == 0
    assert "the last bits of all numbers may differ: threads 7 then, 1 now" in capsys.readouterr().err


# Time budgets and slices, by a clock that only work moves on.


class WorkClock:
    """Seconds that pass when steps are taken and validations made, never by themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_a_step: float, seconds_a_validation: float = 0.0):
        self.time = 1000.0
        monkeypatch.setattr(Trainer, "update", self._after(Trainer.update, seconds_a_step))
        monkeypatch.setattr(training_run, "evaluate", self._after(evaluate, seconds_a_validation))

    def __call__(self) -> float:
        return self.time

    def _after(self, function: Callable, seconds: float) -> Callable:
        def call(*arguments, **named):
            self.time += seconds
            return function(*arguments, **named)

        return call


def pretrain_by(clock: WorkClock, corpus: Path, run: Path, *changes: str, **options) -> Summary:
    return pretrain(tiny_recipe(*changes), RunOptions(corpus, run, **options), PlainProgress(), clock)


def test_a_time_budget_is_kept(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkClock(monkeypatch, seconds_a_step=2.0, seconds_a_validation=3.0)
    summary = pretrain_by(clock, corpus, tmp_path / "run", "valid_every=20", minutes=4.0)
    assert summary.finished
    assert summary.minutes == pytest.approx(4.0, rel=0.1)
    assert clock.time - 1000 == pytest.approx(240, rel=0.1)
    lines = [line for line in read_journal(tmp_path / "run") if line["kind"] == "train"]
    assert lines[0]["timing"]["total_steps"] is None
    assert lines[-1]["timing"]["total_steps"] == summary.step == summary.total_steps
    assert lines[-1]["learning_rate_factor"] < 0.1 < 0.9 < max(line["learning_rate_factor"] for line in lines)


def test_a_budget_in_slices_ends_in_time_too(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkClock(monkeypatch, seconds_a_step=2.0)
    summary = pretrain_by(clock, corpus, tmp_path / "run", minutes=3.0, slice_minutes=1.0)
    num_slices = 1
    while not summary.finished:
        assert summary.minutes == pytest.approx(num_slices, abs=0.05)
        summary = pretrain_by(clock, corpus, tmp_path / "run", resume=True, slice_minutes=1.0)
        num_slices += 1
    assert num_slices in (3, 4)
    assert summary.minutes == pytest.approx(3.0, rel=0.1)


def test_slices_of_a_run_end_with_the_bits_of_one_that_never_stopped(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = WorkClock(monkeypatch, seconds_a_step=10.0)
    steps = []
    while not steps or steps[-1] < 12:
        options = {"resume": bool(steps), "slice_minutes": 0.8}
        steps.append(pretrain_by(clock, corpus, tmp_path / "run", **options).step)
    assert steps == [5, 10, 12]
    assert fingerprint(tmp_path / "run") == fingerprint(finished)


def test_a_slice_that_is_over_exits_with_75(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--slice-minutes", "1e-9")) == 75
    shown = capsys.readouterr()
    assert "this slice is over after step 1: go on with --resume" in shown.err
    assert (tmp_path / "run" / "checkpoints" / "step-00000001").is_dir()


def test_a_signal_during_a_validation_does_not_wait_for_its_end(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **named)

    monkeypatch.setattr(training_run, "evaluate", interrupted)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run")) == 75
    assert "stopped by SIGTERM after step 5: go on with --resume" in capsys.readouterr().err
    assert (tmp_path / "run" / "checkpoints" / "step-00000005").is_dir()
    assert not any(line["kind"] == "valid" for line in read_journal(tmp_path / "run"))
    monkeypatch.setattr(training_run, "evaluate", evaluate)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--resume", "--quiet")) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(finished)


def test_a_budget_that_ends_within_the_warm_up_is_told_and_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = WorkClock(monkeypatch, seconds_a_step=2.0)
    summary = pretrain_by(clock, corpus, tmp_path / "run", "warmup_steps=1000", minutes=1.2)
    assert summary.finished
    assert summary.minutes == pytest.approx(1.2, rel=0.1)
    assert "within the warm-up of 1000: give more --minutes" in capsys.readouterr().err


def pace_to_the_end(schedule: Schedule, seconds_of_step: Callable[[int], float], budget: float) -> tuple[int, float]:
    """Steps taken and time spent under a budget by steps that take so long."""
    clock = [0.0]
    pace, step = Pace(StepPlan(schedule, 10, None), 0, lambda: clock[0]), 0
    while not pace.plan.is_finished(step):
        clock[0] += seconds_of_step(step)
        step += 1
        pace.settle(step, budget - clock[0], again=step % 50 == 0)
    return step, clock[0]


@pytest.mark.parametrize("schedule", [Schedule("linear"), Schedule("cosine"), Schedule("wsd", decay_share=0.3)])
def test_slow_first_steps_do_not_shorten_a_run(schedule: Schedule) -> None:
    step, seconds = pace_to_the_end(schedule, lambda step: 30.0 if step < 3 else 0.5, 600.0)
    assert seconds == pytest.approx(600, rel=0.02)
    assert step > WARM_UP_STEPS + CALIBRATION_STEPS + 900


def test_a_machine_that_slows_down_before_the_fall_still_ends_in_time() -> None:
    _, seconds = pace_to_the_end(Schedule("wsd", decay_share=0.3), lambda step: 0.5 if step < 300 else 1.0, 600.0)
    assert seconds == pytest.approx(600, rel=0.1)


def test_a_budget_shorter_than_the_calibration_ends_at_once() -> None:
    step, seconds = pace_to_the_end(Schedule("wsd"), lambda step: 1.0, 4.0)
    assert (step, seconds) == (5, 5.0)


def test_recent_steps_are_averaged_and_old_ones_fade() -> None:
    recent = Recent()
    for _ in range(500):
        recent = recent.plus(loss=3.0, tokens=100, flops=1000, seconds=2.0)
    assert (recent.loss, recent.tokens_a_second, recent.flops_a_second) == pytest.approx((3.0, 50.0, 500.0))
    for _ in range(300):
        recent = recent.plus(loss=2.0, tokens=100, flops=1000, seconds=1.0)
    assert recent.loss == pytest.approx(2.0, abs=0.01)
    assert recent.tokens_a_second == pytest.approx(100, rel=0.02)


# The command in a process of its own.


def test_sigterm_ends_the_real_command_with_a_checkpoint(corpus: Path, tmp_path: Path) -> None:
    arguments = pretrain_arguments(corpus, tmp_path / "run", "total_steps=1000000", "checkpoint_every=1000000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "openankh", *arguments]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment, bufsize=1) as process:
        assert process.stderr is not None
        while "step 1 " not in (line := process.stderr.readline()) and "step 1/" not in line:
            assert line, "the command ended before its first step"
        process.terminate()
        process.communicate()
    assert process.returncode == 75
    last_step = read_journal(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{last_step:08}").is_dir()
