"""Recipes: all can be built, the published ones are as large as published, and settings say what is wrong with them."""

import dataclasses
import json

import pytest
import torch

from openankh.errors import UserError
from openankh.model import Ankh
from openankh.objectives import RandomResidues, SeveralRates, Suffix
from openankh.pretraining.recipes import RECIPES, Recipe, differences, recipe_named, to_json
from openankh.pretraining.settings import setting_values
from openankh.published import published_model

PUBLISHED = {
    "ankh_base": (736_453_632, 453_170_688),
    "ankh_large": (1_878_705_152, 1_151_707_648),
    "ankh2_large": (1_878_705_152, 1_151_707_648),
    "ankh3_large": (1_879_049_216, 1_151_879_680),
    "ankh3_xl": (5_730_907_136, 3_484_799_488),
}
"""Parameters of all and of the encoder, by `published`; those of the last one follow from its inferred shape."""


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_as_it_is_called_and_tells_its_command(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name
    told = RECIPES[name].__doc__ or ""
    assert f"openankh pretrain {name} --corpus" in told


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_of_every_recipe_has_the_parameters_its_config_counts(name: str) -> None:
    config = RECIPES[name]().model
    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in Ankh(config).parameters())
    assert num_parameters == config.num_parameters


@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items())
def test_the_published_recipes_have_the_published_numbers_of_parameters(name: str, counts: tuple[int, int]) -> None:
    model = RECIPES[name]().model
    assert (model.num_parameters, model.num_encoder_parameters) == counts
    published = published_model(name.replace("_", "-").replace("ankh2-large", "ankh2-ext1"))
    assert published is not None
    if published.num_parameters is not None:
        assert (published.num_parameters, published.num_encoder_parameters) == counts


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes_train_as_the_papers_tell(name: str) -> None:
    recipe = RECIPES[name]()
    assert (recipe.optimiser.name, recipe.optimiser.weight_decay, recipe.optimiser.beta1) == ("adafactor", 0, None)
    assert (recipe.schedule.name, recipe.warmup_steps, recipe.packing.crop) == ("linear", 10_000, 512)
    rate = {"ankh_base": 4e-3, "ankh3_xl": 1e-3}.get(name, 2e-3)
    assert recipe.optimiser.learning_rate == rate
    proteins_a_step = recipe.accumulation * recipe.packing.tokens / 312
    assert proteins_a_step == (1536 if name == "ankh_base" else 1024)
    epochs = recipe.total_steps * proteins_a_step / 45e6
    assert epochs == pytest.approx(45 if name == "ankh2_large" else 68, rel=1e-3)
    if name.startswith("ankh3"):
        denoising, completing = recipe.objectives
        assert (denoising.prefix, completing.prefix) == ("[NLU]", "[S2S]")
        assert denoising.mask == SeveralRates((0.15, 0.20, 0.30)) and completing.mask == Suffix(0.5, 0.5)
    else:
        assert recipe.objectives[0].mask == RandomResidues(0.20) and recipe.objectives[0].prefix is None
    assert (recipe.model.activation == "gelu") == (name in ("ankh_base", "ankh_large"))


@pytest.mark.parametrize("name", ["nano", "nano_gpu"])
def test_models_to_be_bundled_stay_below_30_mib_in_bf16(name: str) -> None:
    assert RECIPES[name]().model.num_parameters * 2 < 30 * 2**20


def test_settings_reach_every_part_whatever_their_order() -> None:
    changes = ["packing.crop=2000", "packing.tokens=3000", "objective.mask.rate=0.1", "seed=7", "dtype=fp32"]
    for ordered in (changes, changes[::-1]):
        recipe = recipe_named("micro", ordered)
        assert (recipe.packing.crop, recipe.packing.tokens, recipe.seed) == (2000, 3000, 7)
        assert (recipe.objective.mask, recipe.dtype) == (dataclasses.replace(recipe.objective.mask, rate=0.1), "fp32")  # type: ignore[type-var]
    assert recipe_named("micro") == RECIPES["micro"]()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("optimiser.betas=0.8,0.9", (0.8, 0.9)),
        ("optimiser.betas=[0.8, 0.9]", (0.8, 0.9)),
        ("optimiser.beta1=0.5", 0.5),
        ("optimiser.beta1=none", None),
        ("objective.prefix=None", None),
        ("model.gated=False", False),
        ("optimiser.learning_rate=1", 1.0),
        ("total_steps=1_000", 1000),
        ("clip_norm=inf", float("inf")),
        ("name=a=b", "a=b"),
    ],
)
def test_a_value_is_read_as_its_setting_needs_it(change: str, value: object) -> None:
    key = change.partition("=")[0]
    read = setting_values(recipe_named("micro", [change]))[key]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("nanoo", [], "no recipe 'nanoo' (did you mean 'nano'?); recipes: micro, nano"),
        ("xyz", [], "no recipe 'xyz'; recipes: "),
        ("micro", ["sead=1"], "no setting 'sead' (did you mean 'seed'?)"),
        ("micro", ["crop=64"], "no setting 'crop' (did you mean 'packing.crop'?)"),
        ("micro", ["optimizer.learning_rate=1"], "(did you mean 'optimiser.learning_rate'?)"),
        ("micro", ["optimiser.lerning_rate=1"], "(did you mean 'optimiser.learning_rate'?)"),
        ("micro", ["optimiser=adamw"], "setting 'optimiser' has parts; give one of them: optimiser.name, "),
        ("micro", ["objective.presentation=x"], "no setting 'objective.presentation'"),
        ("micro", ["seed.x=1"], "no setting 'seed.x'"),
        ("micro", ["seed"], "'seed' is not a setting; write key=value"),
        ("micro", ["seed=one"], "setting seed=one: give a whole number"),
        ("micro", ["seed=1.5"], "setting seed=1.5: give a whole number"),
        ("micro", ["seed="], "setting seed=: give a whole number"),
        ("micro", ["clip_norm=nan"], "setting clip_norm=nan: give a number"),
        ("micro", ["model.gated=maybe"], "setting model.gated=maybe: give true or false"),
        ("micro", ["optimiser.betas=0.9"], "setting optimiser.betas=0.9: give 2 values"),
        ("micro", ["optimiser.beta1=x"], "setting optimiser.beta1=x: give a number"),
        ("micro", ["dtype=bf61"], "setting dtype=bf61 (did you mean 'bf16'?): give one of fp32, bf16"),
        ("micro", ["optimiser.name=adam"], "(did you mean 'adamw'?): give one of adafactor, adamw, muon"),
        ("micro", ["model.activation=gelo"], "(did you mean 'gelu'?)"),
        ("micro", ["seed=-1"], "seed is -1, but must be at least 0"),
        ("micro", ["seed=9223372036854775808"], "seed is 9223372036854775808, but must be below 2**63"),
        ("micro", ["accumulation=0"], "accumulation is 0, but must be at least 1"),
        ("micro", ["clip_norm=0"], "clip_norm is 0.0, but must be above 0"),
        ("micro", ["other_targets=-1"], "other_targets is -1.0, but must be at least 0"),
        ("micro", ["packing.length_multiple=0"], "length_multiple is 0, but must be at least 1"),
        ("micro", ["packing.tokens=10"], "a batch of 10 tokens cannot hold a crop of 128"),
        ("micro", ["model.num_decoder_layers=0"], "training needs a decoder"),
        ("micro", ["model.vocab_size=100"], "model.vocab_size is 100, but vocabulary has 256 pieces"),
        ("micro", ["objective.mask.rate=0.9", "packing.crop=512"], "the vocabulary has 225 sentinels"),
        ("ankh_base", ["packing.crop=1000"], "the vocabulary has 116 sentinels"),
    ],
)
def test_what_is_mistyped_gets_one_line_with_the_nearest(name: str, changes: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe_named(name, changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_as_json_tells_two_apart_by_the_settings_that_differ() -> None:
    one, other = (to_json(recipe_named("nano", changes)) for changes in ([], ["seed=2", "packing.crop=128"]))
    assert json.loads(json.dumps(one)) == one
    assert differences(one, other) == ["packing.crop", "seed"]
    assert differences(one, one) == []
    assert json.dumps(to_json(recipe_named("nano", ["clip_norm=inf"])), allow_nan=False)


def test_a_recipe_made_in_python_is_checked_alike() -> None:
    with pytest.raises(UserError, match="dtype is 'fp8', but must be one of fp32, bf16"):
        Recipe("mine", RECIPES["micro"]().model, dtype="fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["micro", "nano", "nano_mixture", "nano_gpu", "small"])
def test_our_own_recipes_learn_by_the_optimiser_that_needs_fewer_tokens(name: str) -> None:
    assert recipe_named(name).optimiser.name == "muon"
