"""The model that a run begins with instead of new weights: continued pre-training from any checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openankh.checkpoint import load_model, resolve
from openankh.errors import UserError
from openankh.pretraining.recipes import Recipe, differences, to_json
from openankh.provenance import sha256_of_model


@dataclass(frozen=True, eq=False)
class Beginning:
    """Weights by name, fp32, and the record of which they were: the model's name and the hash over its files."""

    weights: Mapping[str, Tensor]
    record: Mapping[str, str]


def read_beginning(name: str, recipe: Recipe) -> Beginning:
    """The model of that name or folder; UserError where it is not of the recipe's shape and vocabulary."""
    folder = resolve(name)
    loaded = load_model(folder, dtype=torch.float32)
    if changed := differences(to_json(recipe.model), to_json(loaded.model.config)):
        key = changed[0]
        raise UserError(
            f"--init {name}: recipe {recipe.name} has another {key}, {getattr(recipe.model, key)} "
            f"instead of {getattr(loaded.model.config, key)}; give model.{key}={getattr(loaded.model.config, key)}"
        )
    if loaded.vocab.fingerprint != recipe.vocab.fingerprint:
        raise UserError(f"--init {name}: its vocabulary is not the one of recipe {recipe.name} ({recipe.vocabulary})")
    known_as = str(Path(name).absolute()) if Path(name).is_dir() else name
    record = {"name": known_as, "sha256": sha256_of_model(loaded.folder, loaded.manifest)}
    return Beginning(loaded.model.state_dict(), record)


def read_again(record: Mapping[str, str], recipe: Recipe) -> Beginning:
    """The model of a record, for a run that is begun again; UserError when it is another one by now."""
    beginning = read_beginning(record["name"], recipe)
    if beginning.record != record:
        raise UserError(f"{record['name']}: not the model this run was begun with; begin a new run with --init")
    return beginning
