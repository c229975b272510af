"""Trials: the training runs of an ablation, each an experiment at a seed with the steps that its compute pays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from openankh.ablation.compute import flops_a_step, with_steps
from openankh.ablation.options import AblationOptions
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.pretraining.experiments import Experiment, Identity, Scale, experiment_named, experiments
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.settings import changed

BASELINE = "exp20"
"""What the paper chose in the end: its compute is the default budget, its seeds tell the noise."""


@dataclass(frozen=True)
class Trial:
    """One run; `flops_a_step` is the estimate that its number of steps was chosen by."""

    experiment: Experiment
    recipe: Recipe
    flops_a_step: float

    @property
    def name(self) -> str:
        """Its folder's name, such as `exp8-seed0`."""
        return f"{self.experiment.name}-seed{self.recipe.seed}"


def baseline(options: AblationOptions) -> Experiment:
    """The experiment that others are measured by, with the caller's settings."""
    return _with_settings(experiment_named(BASELINE, options.scale), options.settings)


def chosen_experiments(options: AblationOptions) -> tuple[Experiment, ...]:
    """The experiments asked for, or all whose corpus is there, with the caller's settings.

    Raises UserError for one that is unknown (the nearest named) or has no corpus, and for settings under which two
    experiments would be the same run.
    """
    if options.only is None:
        chosen = [each for each in experiments(options.scale) if each.identity in options.corpora]
    else:
        chosen = list(_named(options.only, options.scale))
        for each in chosen:
            _require_corpus(each, options)
    chosen = [_with_settings(each, options.settings) for each in chosen]
    _require_different(chosen)
    return tuple(chosen)


def skipped_experiments(options: AblationOptions) -> tuple[Experiment, ...]:
    """What is left out of "all" for want of a corpus."""
    if options.only is not None:
        return ()
    return tuple(each for each in experiments(options.scale) if each.identity not in options.corpora)


def planned(
    chosen: Sequence[Experiment], options: AblationOptions, corpora: Mapping[Identity, Corpus], budget: float
) -> tuple[Trial, ...]:
    """All runs, first seeds first; UserError where the budget ends within a warm-up."""
    estimates = {each.name: flops_a_step(each.recipe, corpora[each.identity]) for each in chosen}
    num_seeds = {each.name: options.seeds for each in chosen}
    if BASELINE in num_seeds:
        num_seeds[BASELINE] = max(options.seeds, options.baseline_seeds)
    return tuple(
        _trial(each, seed, estimates[each.name], budget)
        for seed in range(max(num_seeds.values()))
        for each in chosen
        if seed < num_seeds[each.name]
    )


def _trial(experiment: Experiment, seed: int, estimate: float, budget: float) -> Trial:
    num_steps, warmup = max(1, round(budget / estimate)), experiment.recipe.warmup_steps
    if num_steps <= warmup:
        raise UserError(
            f"{budget:.3g} FLOPs pay {num_steps} steps of {experiment.name}, but its warm-up alone takes {warmup}; "
            f"give at least --flops {estimate * 2 * max(warmup, 1):.1g}, or set warmup_steps lower"
        )
    return Trial(experiment, with_steps(replace(experiment.recipe, seed=seed), num_steps), estimate)


def _named(names: Sequence[str], scale: Scale) -> Iterator[Experiment]:
    seen: set[str] = set()
    for name in names:
        experiment = experiment_named(name, scale)
        if experiment.name not in seen:
            yield experiment
        seen.add(experiment.name)


def _require_corpus(experiment: Experiment, options: AblationOptions) -> None:
    if experiment.identity not in options.corpora:
        raise UserError(
            f"{experiment.name} needs a corpus of its own ({experiment.what}): "
            f"give --corpus-{experiment.identity}, or leave it out of --only"
        )


def _with_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    return replace(experiment, recipe=changed(experiment.recipe, settings))


def _require_different(chosen: Sequence[Experiment]) -> None:
    seen: dict[object, str] = {}
    for each in chosen:
        objective = each.recipe.objective
        key = (replace(each.recipe, name="", objective=replace(objective, name="")), each.identity)  # type: ignore[type-var]
        if key in seen:
            raise UserError(f"with these settings {seen[key]} and {each.name} are the same run; give other settings")
        seen[key] = each.name
