"""Every run that has a name: recipes, and the Ankh paper's experiments at their scales."""

from collections.abc import Sequence

from openankh.errors import UserError
from openankh.pretraining.experiments import SCALES, Scale, experiment_named, experiments
from openankh.pretraining.recipes import RECIPES, Recipe
from openankh.pretraining.settings import changed, nearest


def run_named(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe, or the experiment such as `exp8` or `exp8-tiny`, of that name, with `key=value` changes.

    An experiment without a scale is the paper's own. UserError names the nearest legal name or key.
    """
    if name in RECIPES:
        return changed(RECIPES[name](), changes)
    number, dash, scale = name.partition("-")
    if not (number.startswith("exp") and number[3:].isdigit()):
        known = [*RECIPES, *(each.name for each in experiments())]
        raise UserError(f"no recipe {name!r}{nearest(name, known)}; `openankh pretrain --list` shows all")
    return changed(experiment_named(number, _scale(scale if dash else "paper")).recipe, changes)


def _scale(name: str) -> Scale:
    for scale in SCALES:
        if scale == name:
            return scale
    raise UserError(f"no scale {name!r}{nearest(name, SCALES)}; scales: {', '.join(SCALES)}")
