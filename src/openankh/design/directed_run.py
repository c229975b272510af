"""Directed design: mutants of a protein searched for a goal, the best of all that were judged."""

from collections.abc import Callable
from dataclasses import dataclass

from openankh.design.ascent import ascend
from openankh.design.directed_settings import DirectedSettings
from openankh.design.goal import Goal, Judge, ScanGoal, ScoreGoal
from openankh.design.metropolis import walk
from openankh.design.mutant_space import MutantSpace
from openankh.design.proposal import Making, Proposal, identity_of
from openankh.design.trace import Step
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.loaded import LoadedModel
from openankh.scoring.method import ScoringOptions


@dataclass(frozen=True, eq=False)
class Directed:
    """The best mutants, best first, the steps that were taken, and what the goal says of the parent."""

    proposals: tuple[Proposal, ...]
    steps: tuple[Step, ...]
    judge: Judge
    parent_value: float


def score_goal(loaded: LoadedModel, parent: str, options: ScoringOptions) -> Goal:
    """A score of the model's as a goal."""
    if options.is_marginal:
        return ScanGoal(loaded.scorer(options).scan(parent), options.method)
    return ScoreGoal(loaded, parent, options)


def direct(
    space: MutantSpace,
    parent: Record,
    goal: Goal,
    settings: DirectedSettings,
    model: str,
    *,
    minimises: bool = False,
    told: Callable[[int], None] = lambda num_judged: None,
) -> Directed:
    """Search; the same settings give the same result. `model` is what is told of where the goal comes from."""
    if not space.places:
        raise UserError("--candidates: leaves no change that may be made; raise it")
    judge = Judge(goal, minimises, told)
    search = walk if settings.search == "metropolis" else ascend
    steps = tuple(search(space, judge, settings))
    is_drawn = settings.search == "metropolis"
    making = Making(
        "directed",
        str(settings),
        model,
        settings.seed if is_drawn else None,
        settings.temperature if is_drawn else None,
        goal.name,
    )
    mutants = [sequence for sequence in judge.known if sequence != space.parent]
    best = sorted(mutants, key=lambda sequence: (-judge.known[sequence], sequence))
    proposals = tuple(
        Proposal(parent.id, each, making, parent, identity_of(each, space.parent), score=judge.value(each))
        for each in best
    )
    return Directed(proposals, steps, judge, judge.value(space.parent))
