"""Several tasks trained at once: every protein gets one of them, whole, and each is measured apart."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_server import laid_out
from openankh import cli
from openankh.errors import UserError
from openankh.objectives import (
    Continuation,
    Mixture,
    Objective,
    RandomResidues,
    SeveralRates,
    Share,
    Suffix,
    open_again,
    show,
)
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Batches, PackingSettings
from openankh.pretraining import training_run
from openankh.pretraining.journal import read_journal
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.recipes import denoising_and_completion, recipe_named, to_json
from openankh.pretraining.settings import setting_values
from openankh.pretraining.trainer import Trainer
from openankh.vocab import ankh_vocab, openankh_vocab
from training_samples import TINY, fingerprint, prepare_sample, sample_corpus, tiny_recipe

VOCAB = openankh_vocab()
lengths = st.lists(st.integers(1, 100), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


def draw_proteins(sizes: list[int], rng: np.random.Generator) -> Packed:
    return Packed.join([rng.choice(VOCAB.residue_ids, size) for size in sizes])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(autouse=True)
def _quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths, st.floats(0.01, 0.99), st.floats(0.01, 0.99), seeds)
def test_beginning_and_continuation_together_are_the_protein(
    sizes: list[int], one: float, two: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    proteins = draw_proteins(sizes, rng)
    mask = Suffix(min(one, two), max(one, two))
    examples = Continuation().show(proteins, mask.draw(proteins, rng), VOCAB)
    restored = Continuation().restore(examples, VOCAB)
    assert np.array_equal(restored.ids, proteins.ids)
    assert np.array_equal(restored.offsets, proteins.offsets)
    shown, written = open_again(examples.inputs).lengths, open_again(examples.targets).lengths
    assert (written >= 1).all()
    assert (shown[proteins.lengths > 1] >= 1).all()
    assert (np.abs(shown - proteins.lengths * (one + two) / 2) <= 1 + proteins.lengths * abs(one - two)).all()


def test_a_fixed_cut_lies_in_the_middle() -> None:
    proteins = draw_proteins([10, 7, 2, 1], np.random.default_rng(0))
    hidden = Suffix().draw(proteins, np.random.default_rng(0))
    assert [int(hidden[a:b].sum()) for a, b in zip(proteins.offsets, proteins.offsets[1:], strict=False)] == [
        5,
        3,
        1,
        1,
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds)
def test_several_rates_are_drawn_equally_often_each_for_a_whole_protein(seed: int) -> None:
    proteins = draw_proteins([100] * 600, np.random.default_rng(0))
    hidden = SeveralRates((0.1, 0.2, 0.5)).draw(proteins, np.random.default_rng(seed)).reshape(600, 100).sum(1)
    rates, counts = np.unique(hidden, return_counts=True)
    assert rates.tolist() == [10, 20, 50]
    assert (np.abs(counts - 200) < 60).all()  # five standard deviations


def test_each_protein_gets_one_task_whole_in_proportion_to_the_weights(tmp_path: Path) -> None:
    corpus = sample_corpus(tmp_path / "corpus")
    mixture = denoising_and_completion(completion=0.5)
    batches = Batches(corpus, Order(len(corpus), 0), mixture, PackingSettings(tokens=2000, crop=64), seed=3)
    num_served, position = np.zeros(2, int), 0
    for _ in range(120):
        batch = batches.at(position)
        position = batch.next_position
        for number, inputs, targets in zip(batch.tasks, batch.inputs, batch.targets, strict=True):
            assert inputs[0] == VOCAB.prefix_id(("[NLU]", "[S2S]")[number])
            num_sentinels = np.isin(inputs, VOCAB.sentinel_ids).sum()
            assert (num_sentinels > 0) == (number == 0) == bool(np.isin(targets, VOCAB.sentinel_ids).any())
        num_served += np.bincount(batch.tasks, minlength=2)
        assert len(batch.inputs.ids) <= 2000
    share = num_served[1] / num_served.sum()
    assert abs(share - 1 / 3) < 0.04


def test_a_mixture_batch_is_a_function_of_its_position(tmp_path: Path) -> None:
    corpus = sample_corpus(tmp_path / "corpus")
    batches = Batches(corpus, Order(len(corpus), 0), denoising_and_completion(), PackingSettings(tokens=999), seed=3)
    one, other = batches.at(17), batches.at(17)
    assert np.array_equal(one.inputs.ids, other.inputs.ids)
    assert np.array_equal(one.targets.ids, other.targets.ids)


def test_examples_of_a_mixture_are_those_of_its_objectives_end_to_end() -> None:
    proteins = draw_proteins([30, 40, 20], np.random.default_rng(0))
    one, two = denoising_and_completion().tasks
    examples = show((one, two), np.array([0, 0, 1]), proteins, VOCAB, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    first = one.examples(Packed(proteins.ids[:70], proteins.offsets[:3]), VOCAB, rng)
    last = two.examples(Packed(proteins.ids[70:], np.array([0, 20])), VOCAB, rng)
    assert np.array_equal(examples.inputs.ids, np.concatenate([first.inputs.ids, last.inputs.ids]))
    assert np.array_equal(examples.targets.offsets[:3], first.targets.offsets)


def test_the_losses_of_a_mixture_are_told_apart_and_make_the_whole(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe("dtype=fp32", "encoder_loss=0.3", "packing.tokens=1000"), objective=denoising_and_completion(1.0)
    )
    trainer = Trainer(recipe, sample_corpus(tmp_path / "corpus"), torch.device("cpu"))
    batch = trainer.batches.at(0)
    sums = batch_loss(trainer.model, batch, recipe.vocab, TargetWeights(1.0, 0.3), torch.float32, torch.device("cpu"))
    assert set(batch.tasks) == {0, 1}
    assert torch.allclose(sums.residues_B.sum(), sums.residues)
    update = trainer.update(1.0)
    of_task = [sums.num_residues_B[batch.tasks == number].sum() for number in (0, 1)]
    whole = sum(n * update.task_losses[task.name] for n, task in zip(of_task, recipe.objectives, strict=True))
    assert whole / sum(of_task) == pytest.approx(update.residue_loss, rel=1e-5)


def test_a_mixture_trains_logs_each_task_and_validates_each(corpus: Path, tmp_path: Path) -> None:
    tiny = [change for change in TINY if not change.startswith("valid_tokens")]
    arguments = ["pretrain", "nano_mixture", *tiny, "model.num_encoder_layers=1", "packing.length_multiple=1"]
    folders = ["--corpus", str(corpus), "--out", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    assert cli.main([*arguments, "valid_tokens=200", *folders]) == 0
    lines = read_journal(tmp_path / "run")
    assert {line["objective"] for line in lines if line["kind"] == "valid"} == {"denoising", "completion"}
    assert {name for line in lines if line["kind"] == "train" for name in line["task_losses"]} == {
        "denoising",
        "completion",
    }


def test_settings_reach_into_a_mixture_and_name_the_nearest() -> None:
    changes = ["objective.shares.1.weight=2.5", "objective.shares.0.objective.mask.rates=0.1,0.4"]
    recipe = recipe_named("nano_mixture", changes)
    assert isinstance(recipe.objective, Mixture)
    assert recipe.objective.shares[1].weight == 2.5
    assert recipe.objective.tasks[0].mask == SeveralRates((0.1, 0.4))
    assert setting_values(recipe)["objective.shares.1.objective.mask.earliest"] == 0.25
    assert to_json(recipe)["objective"]["shares"][1]["objective"]["presentation"] == {"kind": "Continuation"}
    with pytest.raises(UserError, match=r"did you mean 'objective\.shares\.1\.weight'"):
        recipe_named("nano_mixture", ["objective.shares.1.wieght=1"])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Mixture((Share(Objective()),)), "several objectives"),
        (lambda: Mixture((Share(Objective()), Share(Objective()))), "different names"),
        (lambda: Share(Objective(), 0), "weight"),
        (lambda: Suffix(0.0, 0.5), "cut"),
        (lambda: Suffix(0.6, 0.5), "cut"),
        (lambda: SeveralRates(()), "rates"),
        (lambda: SeveralRates((0.2, 1.5)), "rates"),
    ],
)
def test_values_that_make_no_sense_are_refused(make, told: str) -> None:
    with pytest.raises(UserError, match=told):
        make()


def test_a_single_objective_draws_nothing_for_its_tasks() -> None:
    rng = np.random.default_rng(0)
    assert Objective(mask=RandomResidues()).draw_tasks(3, rng).tolist() == [0, 0, 0]
    assert rng.random() == np.random.default_rng(0).random()


def begin(corpus: Path, run: Path, *more: str) -> int:
    folders = ["--corpus", str(corpus), "--out", str(run), "--device", "cpu", "--quiet"]
    return cli.main(["pretrain", "micro", *TINY, *folders, *more])


def test_a_run_begins_with_the_weights_of_another_model(corpus: Path, tmp_path: Path) -> None:
    assert begin(corpus, tmp_path / "first") == 0
    best = tmp_path / "first" / "best"
    assert begin(corpus, tmp_path / "second", "--init", str(best)) == 0
    first, second = (read_journal(tmp_path / name) for name in ("first", "second"))
    losses = [next(line["residue_loss"] for line in lines if line["kind"] == "train") for lines in (first, second)]
    assert losses[1] < losses[0] - 0.05
    assert next(line for line in second if line["kind"] == "valid")["residue_loss"] < losses[0] - 0.05


def test_a_run_that_began_with_a_model_is_begun_again_with_it(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin(corpus, tmp_path / "first") == 0
    best = tmp_path / "first" / "best"
    assert begin(corpus, tmp_path / "one", "--init", str(best)) == 0
    assert begin(corpus, tmp_path / "two", "--init", str(best)) == 0
    shutil.rmtree(tmp_path / "two" / "checkpoints")
    assert begin(corpus, tmp_path / "two", "--resume") == 0
    assert fingerprint(tmp_path / "two") == fingerprint(tmp_path / "one")
    shutil.rmtree(tmp_path / "two" / "checkpoints")
    assert begin(corpus, tmp_path / "first", "seed=9", "--init", str(best)) == 2  # nothing is written over
    shutil.rmtree(tmp_path / "first")
    assert begin(corpus, tmp_path / "first", "seed=9") == 0
    capsys.readouterr()
    assert begin(corpus, tmp_path / "two", "--resume") == 2
    assert "not the model this run was begun with" in capsys.readouterr().err


def test_a_run_that_begins_with_a_model_of_the_hub_records_its_commit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert begin(corpus, tmp_path / "first") == 0
    best = tmp_path / "first" / "best"
    laid_out(tmp_path / "cache", "ada/start", best, commit, {path.name for path in best.iterdir()})
    assert begin(corpus, tmp_path / "second", "--init", "ada/start", "--offline") == 0
    record = json.loads((tmp_path / "second" / "run.json").read_text())
    assert record["init"]["name"] == f"ada/start@{commit}"
    assert begin(corpus, tmp_path / "third", "--init", "ada/none", "--offline") == 2


@pytest.mark.parametrize(
    ("change", "told"), [("model.d_model=24", "model.d_model=16"), ("vocabulary=ankh", "vocabulary")]
)
def test_a_model_of_another_shape_or_vocabulary_cannot_be_begun_with(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    assert begin(corpus, tmp_path / "first") == 0
    ankh = prepare_sample(tmp_path / "ankh", ankh_vocab() if change == "vocabulary=ankh" else openankh_vocab())
    capsys.readouterr()
    code = begin(ankh, tmp_path / "second", change, "--init", str(tmp_path / "first" / "best"))
    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "second").exists()
