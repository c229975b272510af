"""Metropolis sampling of mutants: in the long run each is met in proportion to exp(score / temperature).

Two moves, equally often: another residue at one place, or a change taken back and another made elsewhere. A mutant
beyond the budget is never entered, so that the chain stays where it is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from openankh.design.directed_settings import DirectedSettings
from openankh.design.goal import Judge
from openankh.design.mutant_space import MutantSpace
from openankh.design.trace import Step

Item = TypeVar("Item")


@dataclass(frozen=True)
class Move:
    """Where a chain might go, and the logarithm of how much likelier the way back is drawn than the way there."""

    sequence: str
    log_ratio: float = 0.0


def walk(space: MutantSpace, judge: Judge, settings: DirectedSettings) -> Iterator[Step]:
    """The steps that were taken; chains walk side by side, each on a chance of its own, the first ones of more."""
    chances = [np.random.default_rng((settings.seed, chain)) for chain in range(settings.chains)]
    states = [space.parent] * settings.chains
    judge.merits(states)
    for number in range(1, settings.steps + 1):
        moves = [move(space, state, settings.budget, chance) for state, chance in zip(states, chances, strict=True)]
        gains = judge.merits([each.sequence for each in moves]) - judge.merits(states)
        for chain, (way, gain, chance) in enumerate(zip(moves, gains.tolist(), chances, strict=True)):
            is_taken = math.log(1 - chance.random()) < gain / settings.temperature + way.log_ratio
            if is_taken and way.sequence != states[chain]:
                yield Step(chain + 1, number, states[chain], way.sequence)
                states[chain] = way.sequence


def move(space: MutantSpace, state: str, budget: int, chance: np.random.Generator) -> Move:
    """Where to go next; the state itself where the move drawn is not possible."""
    if chance.random() < 0.5:
        return _replaced(space, state, budget, chance)
    return _exchanged(space, state, chance)


def _replaced(space: MutantSpace, state: str, budget: int, chance: np.random.Generator) -> Move:
    """Any place of the space gets another residue, the parent's included: the way back is as likely."""
    number = int(chance.integers(len(space.places)))
    place = space.places[number]
    letters = [letter for letter in space.parent[place] + space.choices[number] if letter != state[place]]
    mutant = _with(state, place, _drawn(letters, chance))
    return Move(mutant if space.num_changes(mutant) <= budget else state)


def _exchanged(space: MutantSpace, state: str, chance: np.random.Generator) -> Move:
    """A change is taken back and one made at a place without: the number of changes stays.

    The way back draws among the residues of the first place, this way among those of the second.
    """
    changed = [place for place in space.places if state[place] != space.parent[place]]
    free = [place for place in space.places if state[place] == space.parent[place]]
    if not changed or not free:
        return Move(state)
    old, new = _drawn(changed, chance), _drawn(free, chance)
    letters, letters_back = space.letters_at(new), space.letters_at(old)
    mutant = _with(_with(state, old, space.parent[old]), new, _drawn(letters, chance))
    return Move(mutant, math.log(len(letters)) - math.log(len(letters_back)))


def _with(sequence: str, place: int, letter: str) -> str:
    return sequence[:place] + letter + sequence[place + 1 :]


def _drawn(several: Sequence[Item], chance: np.random.Generator) -> Item:
    return several[int(chance.integers(len(several)))]
