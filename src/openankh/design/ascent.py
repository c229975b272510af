"""Greedy and beam search: from the best mutants of n changes to those of n + 1."""

from collections.abc import Iterator

from openankh.design.directed_settings import DirectedSettings
from openankh.design.goal import Judge
from openankh.design.mutant_space import MutantSpace
from openankh.design.trace import Step


def ascend(space: MutantSpace, judge: Judge, settings: DirectedSettings) -> Iterator[Step]:
    """What was gone on with, change by change; of equally good mutants the alphabetically first.

    Greedy ends where no further change helps; with beams the search goes on to the budget, for two changes may help
    where neither does alone.
    """
    is_greedy = settings.search == "greedy"
    width = 1 if is_greedy else settings.beams
    front, best = [space.parent], float(judge.merits([space.parent])[0])
    for number in range(1, settings.budget + 1):
        came_from: dict[str, str] = {}
        for before in front:
            for mutant in space.singles(before):
                came_from.setdefault(mutant, before)
        if not came_from:
            return
        mutants = list(came_from)
        merits = dict(zip(mutants, judge.merits(mutants).tolist(), strict=True))
        chosen = sorted(mutants, key=lambda mutant: (-merits[mutant], mutant))[:width]
        if is_greedy and merits[chosen[0]] <= best:
            return
        for chain, mutant in enumerate(chosen, start=1):
            yield Step(chain, number, came_from[mutant], mutant)
        front, best = chosen, max(best, merits[chosen[0]])
