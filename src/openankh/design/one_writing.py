"""Writing the hidden residues of one protein anew: masks drawn, filled window by window, results ranked."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from openankh.design.masking import Masking, require_within
from openankh.design.one_settings import OneSettings
from openankh.design.proposal import Making, Proposal, identity_of
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.generation.gaps import GAP, Filling
from openankh.generation.randomness import seed_of
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.windows import Windows
from openankh.generation.writer import MOST_ROWS
from openankh.loaded import LoadedModel
from openankh.scoring.method import ScoringOptions
from openankh.scoring.variant import variant_of_sequence

_TOGETHER = 8
"""Masks that are filled together."""

_PSEUDO = "pseudo-log-likelihood"

OnNumber = Callable[[int], None]


def rewritten(
    loaded: LoadedModel,
    parent: Record,
    masking: Masking,
    settings: OneSettings,
    rules: ResidueRules,
    on_mask: OnNumber = lambda num_done: None,
) -> Iterator[Proposal]:
    """The results of every mask, each a function of the protein, the settings and the mask's number alone.

    Raises UserError, before anything is written, for places beyond the protein and for rules that nothing can obey.
    """
    vocab, length = loaded.vocab, len(parent.sequence)
    if not vocab.num_sentinels:
        raise UserError("the model's vocabulary has no sentinels, so that no residue can be hidden")
    rules.require_known(vocab)
    require_within(tuple(place for place, _ in rules.fixed), length, "--allow")
    masking.candidates(length)
    width = loaded.model.config.vocab_size
    windows = Windows(loaded.reader, vocab, width, rules, settings.how, settings.window, MOST_ROWS)
    making = Making("one", str(settings.how), loaded.pinned_name, settings.seed, settings.temperature)
    for first in range(0, settings.masks, _TOGETHER):
        numbers = range(first, min(first + _TOGETHER, settings.masks))
        empty = [_hidden(loaded, parent, masking, settings, rules, number) for number in numbers]
        for before, several in zip(empty, windows.fill(empty, settings.per_mask), strict=True):
            for filling in several:
                yield _proposal(loaded, parent, before, filling, making)
        on_mask(numbers[-1] + 1)


def ranked(
    proposals: Iterable[Proposal], loaded: LoadedModel, parent: Record, settings: OneSettings, on_scored: OnNumber
) -> list[Proposal]:
    """The best, best first, each with its score and named by its rank."""
    several = list(proposals)
    if settings.rank == _PSEUDO:
        variants = [variant_of_sequence(each.sequence, parent.sequence) for each in several]
        scorer = loaded.scorer(ScoringOptions(_PSEUDO), lambda done, total: on_scored(done))
        scores = [score.raw for score in scorer.score(parent.sequence, variants)]
    else:
        scores = [each.mean_log_prob or 0.0 for each in several]
    order = sorted(range(len(several)), key=lambda place: (-scores[place], several[place].sequence))
    return [
        replace(
            several[place],
            id=f"{parent.id}/{number}",
            score=scores[place],
            making=replace(several[place].making, score=settings.rank),
        )
        for number, place in enumerate(order[: settings.num], start=1)
    ]


def _hidden(
    loaded: LoadedModel, parent: Record, masking: Masking, settings: OneSettings, rules: ResidueRules, number: int
) -> Filling:
    """The protein with the places of one mask empty."""
    vocab, sequence = loaded.vocab, parent.sequence
    ids = vocab.encode(sequence).astype(np.int64)
    places = masking.draw(len(sequence), settings.seed, number)
    ids[places] = GAP
    seed = seed_of(settings.seed, f"{number} {sequence} {places.tolist()}".encode())
    return Filling(ids, np.zeros(len(ids)), seed, 0, rules.required_ids(vocab))


def _proposal(loaded: LoadedModel, parent: Record, before: Filling, filling: Filling, making: Making) -> Proposal:
    sequence = loaded.vocab.decode(filling.ids)
    mean = float(filling.log_probs[before.gaps].mean())
    return Proposal(parent.id, sequence, making, parent, identity_of(sequence, parent.sequence), mean)
