"""The paper's experiments: all there, each a recipe that can be trained, each what the paper says it is."""

import json

import pytest
import torch

from openankh import cli
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.pretraining.experiments import SCALES, Experiment, Scale, experiment_named, experiments
from openankh.pretraining.named_runs import run_named
from openankh.pretraining.settings import changed
from openankh.pretraining.trainer import Trainer
from training_samples import sample_corpus

PAPER = (
    64.0, 65.0, 58.1, 56.1, 67.9, 63.5, 65.4, 66.7, 67.1, 67.0, 67.7, 67.8, 66.8, 67.4, 65.3, 66.3, 67.7, 68.2, 63.7,
    67.8, 68.6, 67.8, 67.6, 67.2,
)  # fmt: skip
"""Averages of the Ankh paper's experiments 0 to 23."""


def test_all_of_the_papers_experiments_are_there_with_their_averages() -> None:
    assert tuple(each.average for each in experiments()[:24]) == PAPER
    assert [each.name for each in experiments()] == [f"exp{n}" for n in range(26)]
    assert len({each.recipe.objective for each in experiments()[:10]}) == 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return sample_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.parametrize("scale", SCALES)
def test_no_two_experiments_are_the_same_run(scale: Scale) -> None:
    runs = {(each.recipe.model, each.recipe.objective, each.identity, each.epochs) for each in experiments(scale)}
    assert len(runs) == 26


def test_the_chosen_experiment_is_ankh_base_but_for_the_vocabulary() -> None:
    chosen = experiment_named("20").recipe.model
    assert chosen.num_parameters - 2 * 112 * chosen.d_model == 736_453_632  # 256 pieces instead of 144, in and out


@pytest.mark.parametrize("experiment", experiments("tiny"), ids=lambda each: each.name)
def test_every_experiment_trains(experiment: Experiment, corpus: Corpus) -> None:
    recipe = changed(experiment.recipe, ["packing.tokens=300", "model.d_model=32", "model.d_ff=32"])
    trainer = Trainer(recipe, corpus, torch.device("cpu"))
    losses = [trainer.update(1.0).loss for _ in range(4)]
    assert losses[-1] < losses[0]


def test_experiments_are_runs_by_name_at_every_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_named("exp8") == experiment_named("8", "paper").recipe
    assert run_named("exp8-tiny", ["seed=3"]) == changed(experiment_named("8", "tiny").recipe, ["seed=3"])
    for name, told in (("exp8-smal", "did you mean 'small'"), ("exp99", "exp0 to exp25"), ("nanno", "mean 'nano'")):
        with pytest.raises(UserError, match=told):
            run_named(name)
    assert cli.main(["pretrain", "--list", "--json"]) == 0
    rows = {row["recipe"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["exp20"]["average"] == 68.6
    assert rows["nano"]["average"] is None


def test_a_mistyped_experiment_names_the_nearest() -> None:
    assert experiment_named("4") == experiment_named("exp4")
    with pytest.raises(UserError, match="did you mean 'exp4'"):
        experiment_named("exq4")
    with pytest.raises(UserError, match="exp0 to exp25"):
        experiment_named("26")


def test_an_auxiliary_loss_that_an_objective_has_no_place_for_is_refused() -> None:
    with pytest.raises(UserError, match="encoder_loss"):
        changed(experiment_named("0", "tiny").recipe, ["encoder_loss=0.25"])
