"""The model that a new run begins with: a model by its name or folder, or an earlier run, its optimiser included."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openankh.checkpoint import load_named_model
from openankh.errors import UserError
from openankh.pretraining.checkpoints import read_newest_of
from openankh.pretraining.recipes import VOCABULARIES, Recipe, differences, to_json
from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.run_record import NAME as RUN_RECORD
from openankh.pretraining.run_record import read_record
from openankh.pretraining.state import TrainingState
from openankh.provenance import sha256_of_model
from openankh.vocab import Vocab

_NO_SHAPE = ("activation",)
"""Settings of a network that its weights do not tell: Ankh2 went on from Ankh large with another activation."""


@dataclass(frozen=True, eq=False)
class InitialModel:
    """Weights by name, fp32, their vocabulary, and the record of which they were.

    That is the model's name, the hash over its files and, where its folder tells, how it was trained itself; of a run
    the step as well. `optimiser` is the state to be resumed, empty for a fresh one. `notes` are lines worth telling.
    """

    weights: Mapping[str, Tensor]
    vocab: Vocab
    record: Mapping[str, Any]
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_initial_model(name: str, recipe: Recipe, options: RunOptions) -> InitialModel:
    """The model of that name or folder, or of a run's newest checkpoint; UserError where its shape is not the recipe's.

    Only a run has an optimiser to be resumed.
    """
    if (Path(name) / RUN_RECORD).is_file():
        return _of_run(Path(name), recipe, options.optimiser == "resumed")
    if options.optimiser == "resumed":
        raise UserError(
            f"--optimiser resumed: {name} is a model, which has no optimiser; give the folder of a run with --init, or "
            "leave it fresh"
        )
    trust_pickle, offline = options.trust_pickle, options.offline
    loaded = load_named_model(name, dtype=torch.float32, trust_pickle=trust_pickle, offline=offline)
    notes = _check_shape(name, recipe, to_json(loaded.model.config))
    assert loaded.place is not None
    is_local = Path(name).is_dir() and not loaded.place.commit
    known_as = str(Path(name).absolute()) if is_local else loaded.place.pinned_name
    training = loaded.provenance.training if loaded.provenance else {}
    record = {"name": known_as, "sha256": sha256_of_model(loaded.folder, loaded.manifest), "training": training}
    return InitialModel(loaded.model.state_dict(), loaded.vocab, record, notes=notes)


def read_initial_model_again(record: Mapping[str, Any], recipe: Recipe, options: RunOptions) -> InitialModel:
    """The model of a record, for a run that is begun again; UserError when it is another one by now."""
    if "step" in record:
        beginning = _of_run(Path(record["name"]), recipe, record["optimiser"] == "resumed")
    else:
        beginning = read_initial_model(record["name"], recipe, options)
    if beginning.record != record:
        raise UserError(f"{record['name']}: not the model this run was begun with; begin a new run with --init")
    return beginning


def _of_run(run: Path, recipe: Recipe, resumed: bool) -> InitialModel:
    """The newest whole checkpoint of a run; its vocabulary is that of the recipe the run was begun with."""
    theirs = read_record(run).recipe
    notes = _check_shape(str(run), recipe, theirs["model"])
    if resumed and (changed := differences(to_json(recipe.optimiser), theirs["optimiser"])):
        kinds = [key for key in changed if key == "name"]
        if kinds:
            raise UserError(
                f"--optimiser resumed: {run} was trained with {theirs['optimiser']['name']}, this recipe uses "
                f"{recipe.optimiser.name}; give optimiser.name={theirs['optimiser']['name']}, or leave it fresh"
            )
        notes += (f"the optimiser is resumed with another {', '.join(changed)}",)
    found = read_newest_of(run)
    if found is None:
        raise UserError(f"--init {run}: this run has no checkpoint yet; wait for one, or give another model")
    vocab = Vocab(tuple(theirs["pieces"])) if theirs.get("pieces") else VOCABULARIES[theirs["vocabulary"]]()
    record = {
        "name": str(run.absolute()),
        "step": found.state.step,
        "sha256": json.loads((found.folder / "manifest.json").read_bytes())["files"]["model.safetensors"]["sha256"],
        "optimiser": "resumed" if resumed else "fresh",
        "training": {"recipe": theirs, "step": found.state.step, **_tallied(found.state)},
    }
    optimiser = found.state.optimiser if resumed else {}
    return InitialModel(found.state.model, vocab, record, optimiser, (*found.refused, *notes))


def _tallied(state: TrainingState) -> dict[str, Any]:
    tallies = state.facts.get("tallies", {})
    return {"residues": tallies.get("residues"), "encoder_tokens": tallies.get("tokens")}


def _check_shape(name: str, recipe: Recipe, theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """Raise UserError where a setting that the weights follow from is another one; notes of those that do not."""
    ours = to_json(recipe.model)
    changed = differences(ours, dict(theirs))
    if shape := [key for key in changed if key not in _NO_SHAPE]:
        key = shape[0]
        raise UserError(
            f"--init {name}: recipe {recipe.name} has another {key}, {ours[key]} instead of {theirs.get(key)}; "
            f"give model.{key}={theirs.get(key)}"
        )
    return tuple(f"--init {name}: its {key} is {theirs[key]}, this recipe goes on with {ours[key]}" for key in changed)
