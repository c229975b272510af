"""What a run goes out from, checked before anything is trained: corpus, record, and the model it may begin with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.objectives import Suffix
from openankh.pretraining.initial_model import InitialModel, read_initial_model
from openankh.pretraining.progress import Progress
from openankh.pretraining.ranks import Ranks
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.run_record import (
    RunRecord,
    changed_environment,
    check_code,
    check_record,
    read_record,
    require_no_run,
)
from openankh.pretraining.trackers import require_tracker
from openankh.vocab import Vocab

_LEAST_TO_CUT = 2
"""Residues: one on each side of the cut."""
_MOST_UNCUT = 0.01
"""The share of proteins too short to be cut that a corpus may have: they are served whole to the decoder."""


@dataclass(frozen=True, eq=False)
class Begun:
    """What a run goes out from; `weights` are those of another model, if it begins with one.

    `recipe` is the one asked for, with the vocabulary of that model. `optimiser` is the state of one that is resumed.
    """

    recipe: Recipe
    train: Corpus
    valid: Corpus | None
    record: RunRecord
    weights: Mapping[str, Tensor] | None = None
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)


def check_beginning(recipe: Recipe, options: RunOptions, ranks: Ranks, progress: Progress) -> Begun:
    """The corpus and record of a run to be begun or resumed; UserError where they do not fit each other."""
    if options.log is not None and ranks.is_first:
        require_tracker(options.log)
    train, valid = _open_corpus(options.corpus, verify=ranks.is_first and not options.resume)
    if options.resume:
        return _resumed(recipe, options, train, valid, ranks, progress)
    if ranks.is_first:
        require_no_run(options.out)
    beginning = read_initial_model(options.init, recipe, options) if options.init else None
    recipe = _with_vocabulary(recipe, train, beginning, options)
    require_long_enough(recipe, train)
    record = RunRecord.of(
        recipe,
        options.corpus,
        train.manifest,
        options.minutes,
        beginning.record if beginning else None,
        device_of(options, ranks),
        ranks.size,
    )
    if beginning is None:
        return Begun(recipe, train, valid, record)
    for line in beginning.notes:
        progress.say(line)
    return Begun(recipe, train, valid, record, beginning.weights, beginning.optimiser)


def _resumed(
    recipe: Recipe, options: RunOptions, train: Corpus, valid: Corpus | None, ranks: Ranks, progress: Progress
) -> Begun:
    pieces = read_record(options.out).recipe.get("pieces")
    if pieces and not recipe.pieces:  # the vocabulary of the model that the run began with
        recipe = replace(recipe, pieces=tuple(pieces))
    _require_vocabulary(train, recipe.vocab, f"recipe {recipe.name} uses", recipe.vocabulary)
    record = check_record(options.out, recipe, train.fingerprint, options.minutes)
    if options.changed_code == "refuse":
        check_code(options.out, record)
    if changed := changed_environment(record, device_of(options, ranks), ranks.size):
        progress.say(changed)
    return Begun(recipe, train, valid, record)


def device_of(options: RunOptions, ranks: Ranks) -> str:
    """The device that this rank works on."""
    return str(ranks.device) if ranks.size > 1 else options.device


def check_corpus(recipe: Recipe, train: Corpus) -> None:
    """Raise UserError where a corpus cannot serve a recipe: its vocabulary is another, its proteins are too short."""
    _require_vocabulary(train, recipe.vocab, f"recipe {recipe.name} uses", recipe.vocabulary)
    require_long_enough(recipe, train)


def require_long_enough(recipe: Recipe, train: Corpus) -> None:
    """Raise UserError where a task cuts proteins in two and the corpus has many that cannot be cut."""
    cutting = [objective.name for objective in recipe.objectives if isinstance(objective.mask, Suffix)]
    if not cutting:
        return
    num_short = int(np.count_nonzero(train.lengths < _LEAST_TO_CUT))
    if num_short > _MOST_UNCUT * train.num_proteins:
        raise UserError(
            f"{train.folder}: {num_short:,} of {train.num_proteins:,} proteins are too short to be cut in two, as "
            f"{cutting[0]!r} of recipe {recipe.name} does; prepare the corpus with --min-length 20, or choose another "
            "recipe"
        )


def _with_vocabulary(recipe: Recipe, train: Corpus, beginning: InitialModel | None, options: RunOptions) -> Recipe:
    """The recipe, with the vocabulary of the model it begins with; the corpus must have it too."""
    if beginning is None or beginning.vocab.fingerprint == recipe.vocab.fingerprint:
        _require_vocabulary(train, recipe.vocab, f"recipe {recipe.name} uses", recipe.vocabulary)
        return recipe
    _require_vocabulary(train, beginning.vocab, f"--init {options.init} has", "FOLDER, that model's or its tokenizer's")
    return replace(recipe, pieces=beginning.vocab.pieces)


def _require_vocabulary(train: Corpus, vocab: Vocab, whose: str, remedy: str) -> None:
    if train.vocab.fingerprint != vocab.fingerprint:
        raise UserError(
            f"{train.folder}: was prepared with another vocabulary than {whose}; prepare it with --vocab {remedy}"
        )


def _open_corpus(folder: Path, verify: bool) -> tuple[Corpus, Corpus | None]:
    train = Corpus.open(folder, verify=verify)
    valid = Corpus.open(folder, "valid", verify) if "valid" in train.manifest.splits else None
    return train, valid
