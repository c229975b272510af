"""What a run goes out from, checked before anything is trained: corpus, record, and the model it may begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openankh.checkpoint import load_named_model
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.pretraining.progress import Progress
from openankh.pretraining.ranks import Ranks
from openankh.pretraining.recipes import Recipe, differences, to_json
from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.run_record import RunRecord, changed_environment, check_record, require_no_run
from openankh.provenance import sha256_of_model


@dataclass(frozen=True, eq=False)
class InitialModel:
    """Weights by name, fp32, and the record of which they were.

    That is the model's name, the hash over its files and, where its folder tells, how it was trained itself.
    """

    weights: Mapping[str, Tensor]
    record: Mapping[str, Any]


def read_initial_model(name: str, recipe: Recipe, options: RunOptions) -> InitialModel:
    """The model of that name or folder; UserError where it is not of the recipe's shape and vocabulary."""
    trust_pickle, offline = options.trust_pickle, options.offline
    loaded = load_named_model(name, dtype=torch.float32, trust_pickle=trust_pickle, offline=offline)
    if changed := differences(to_json(recipe.model), to_json(loaded.model.config)):
        key = changed[0]
        raise UserError(
            f"--init {name}: recipe {recipe.name} has another {key}, {getattr(recipe.model, key)} "
            f"instead of {getattr(loaded.model.config, key)}; give model.{key}={getattr(loaded.model.config, key)}"
        )
    if loaded.vocab.fingerprint != recipe.vocab.fingerprint:
        raise UserError(f"--init {name}: its vocabulary is not the one of recipe {recipe.name} ({recipe.vocabulary})")
    assert loaded.place is not None
    is_local = Path(name).is_dir() and not loaded.place.commit
    known_as = str(Path(name).absolute()) if is_local else loaded.place.pinned_name
    training = loaded.provenance.training if loaded.provenance else {}
    record = {"name": known_as, "sha256": sha256_of_model(loaded.folder, loaded.manifest), "training": training}
    return InitialModel(loaded.model.state_dict(), record)


def read_initial_model_again(record: Mapping[str, Any], recipe: Recipe, options: RunOptions) -> InitialModel:
    """The model of a record, for a run that is begun again; UserError when it is another one by now."""
    beginning = read_initial_model(record["name"], recipe, options)
    if beginning.record != record:
        raise UserError(f"{record['name']}: not the model this run was begun with; begin a new run with --init")
    return beginning


@dataclass(frozen=True, eq=False)
class Begun:
    """What a run goes out from; `weights` are those of another model, if it begins with one."""

    train: Corpus
    valid: Corpus | None
    record: RunRecord
    weights: Mapping[str, Tensor] | None


def check_beginning(recipe: Recipe, options: RunOptions, ranks: Ranks, progress: Progress) -> Begun:
    """The corpus and record of a run to be begun or resumed; UserError where they do not fit each other."""
    train, valid = _open_corpus(recipe, options.corpus, verify=ranks.is_first and not options.resume)
    if options.resume:
        record = check_record(options.out, recipe, train.fingerprint, options.minutes)
        if changed := changed_environment(record):
            progress.say(changed)
        return Begun(train, valid, record, None)
    if ranks.is_first:
        require_no_run(options.out)
    beginning = read_initial_model(options.init, recipe, options) if options.init else None
    record = RunRecord.of(recipe, train.fingerprint, options.minutes, beginning.record if beginning else None)
    return Begun(train, valid, record, beginning.weights if beginning else None)


def _open_corpus(recipe: Recipe, folder: Path, verify: bool) -> tuple[Corpus, Corpus | None]:
    train = Corpus.open(folder, verify=verify)
    if train.vocab.fingerprint != recipe.vocab.fingerprint:
        raise UserError(
            f"{folder}: was prepared with another vocabulary than recipe {recipe.name} uses; "
            f"prepare it with --vocab {recipe.vocabulary}"
        )
    valid = Corpus.open(folder, "valid", verify) if "valid" in train.manifest.splits else None
    return train, valid
