"""A dry run: what it tells is what a run does, it fits what the recipes say of themselves, and nothing is trained."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from openankh import cli
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.pretraining.dry_run import DEVICES, DryRun, Plan, UniRef50Like, device_named, dry_run, first_batches
from openankh.pretraining.flops import training_flops
from openankh.pretraining.journal import read_journal
from openankh.pretraining.recipes import RECIPES, recipe_named
from openankh.vocab import openankh_vocab
from training_samples import TINY, prepare_sample, pretrain_arguments, sample_corpus, tiny_recipe

COSTLY = ("small", "ankh_base", "ankh_large", "ankh2_large", "ankh3_large", "ankh3_xl")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert cli.main(["pretrain", *arguments, "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(["pretrain", *arguments, "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    return shown.err


def test_tokens_and_operations_are_those_of_the_run(corpus: Path, tmp_path: Path, capsys) -> None:
    arguments = ["micro", *TINY, "total_steps=8", "valid_every=100"]
    facts = told(capsys, *arguments, "--corpus", str(corpus))
    assert cli.main(["pretrain", *arguments, "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    steps = [line for line in read_journal(tmp_path / "run") if line["kind"] == "train"]
    assert facts["total_tokens"] == steps[-1]["total_tokens"]
    assert facts["total_flops"] == pytest.approx(sum(step["flops"] for step in steps))
    assert facts["epochs"] == pytest.approx(steps[-1]["position"] / Corpus.open(corpus).num_proteins)
    assert facts["total_residues"] == sum(step["num_residues_read"] for step in steps)


def test_nothing_is_written(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = pretrain_arguments(corpus, tmp_path / "run", "--dry-run")
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "memory of a GPU" in shown and "of the host" in shown and "(arithmetic)" in shown
    assert not (tmp_path / "run").exists()


def test_the_disk_told_is_what_the_run_leaves_and_needs(corpus: Path, tmp_path: Path, capsys) -> None:
    changes = ["model.d_model=128", "model.d_ff=512"]
    facts = told(capsys, "micro", *TINY, *changes, "--corpus", str(corpus))
    assert cli.main([*pretrain_arguments(corpus, tmp_path / "run", "--quiet"), *changes]) == 0
    left = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*.safetensors"))
    # One checkpoint more while it is written, and best/ twice while it is replaced.
    spare = facts["memory_bytes"]["checkpoint"] + 4 * facts["parameters"]
    assert left == pytest.approx(facts["disk_bytes"] - spare, rel=0.02)


def test_hours_days_and_cost_are_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["micro", "accumulation=8", "--gpu", "a100", "--utilisation", "0.5", "--price-per-hour", "2"]
    alone, eight = (told(capsys, *changes, "--gpus", number) for number in ("1", "8"))
    assert alone["device_hours"] == pytest.approx(alone["total_flops"] / (312e12 * 0.5) / 3600)
    assert eight["device_hours"] == alone["device_hours"]
    assert eight["days"] == pytest.approx(alone["days"] / 8)
    assert alone["cost"] == pytest.approx(2 * alone["device_hours"])
    assert told(capsys, "micro")["cost"] is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ankh_base", "--gpus", "7"], "accumulation is 32: 7 GPUs share a step's batches evenly"),
        (["micro", "--gpu", "h10"], "--gpu h10: not known (did you mean 'h100'?)"),
        (["micro", "--gpus", "0"], "--gpus 0: give at least 1"),
        (["micro", "--utilisation", "40"], "--utilisation 40.0: give a share"),
        (["micro", "--price-per-hour", "-1"], "--price-per-hour -1.0: give 0 or more"),
        (["ankh_base", "--corpus", "CORPUS"], "prepare it with --vocab ankh"),
        (["micro", "--corpus", "MISSING"], "MISSING"),
    ],
)
def test_what_cannot_be_told_gets_one_line(corpus: Path, capsys, arguments: list[str], line: str) -> None:
    assert line in refused(capsys, *(str(corpus) if word == "CORPUS" else word for word in arguments))


def test_the_processor_of_this_machine_can_be_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openankh.pretraining.flops.measured_peak", lambda device, dtype: 2e11)
    device = device_named("cpu")
    assert (device.flops_a_second, device.num_bytes) == (2e11, None)
    assert dry_run(tiny_recipe(), Plan("cpu")).fits is None
    with pytest.raises(UserError, match="give one of h100"):
        device_named("tpu")


@pytest.fixture(scope="module")
def plans() -> dict[str, DryRun]:
    return {name: dry_run(recipe_named(name), Plan()) for name in COSTLY}


@pytest.mark.parametrize("name", COSTLY)
def test_a_recipe_tells_the_tokens_and_gpu_hours_that_a_dry_run_tells(plans: dict[str, DryRun], name: str) -> None:
    text = " ".join((RECIPES[name].__doc__ or "").split())
    tokens, hours = re.search(r"Tokens: ([\d,.]+) B", text), re.search(r"Cost: ([\d,.]+) GPU hours of an H100", text)
    assert tokens and hours and "Hardware: " in text and "arithmetic" in text and "40 %" in text
    plan = plans[name]
    told_tokens = plan.work.num_tokens * plan.recipe.total_steps / 1e9
    assert float(tokens[1].replace(",", "")) == pytest.approx(told_tokens, rel=0.01)
    assert float(hours[1].replace(",", "")) == pytest.approx(plan.device_hours, rel=0.02)


def test_made_up_proteins_are_as_long_as_those_of_the_paper() -> None:
    proteins = UniRef50Like(openankh_vocab())
    assert proteins.lengths.mean() == pytest.approx(14e9 / 45e6, rel=0.01)
    ids, offsets = proteins.gather(np.array([3, 0]))
    assert np.diff(offsets).tolist() == proteins.lengths[[3, 0]].tolist() and len(ids) == offsets[-1]


def test_the_batches_looked_at_are_the_first_ones(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    batches = first_batches(recipe, sample_corpus(tmp_path / "corpus"))
    assert [batch.position for batch in batches[1:]] == [batch.next_position for batch in batches[:-1]]
    assert training_flops(recipe.model, batches[0].inputs.lengths, batches[0].targets.lengths) > 0


def test_devices_have_distinct_names() -> None:
    assert len({device.name for device in DEVICES}) == len(DEVICES)
