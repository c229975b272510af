"""The trace of a search: the steps that were taken, one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openankh.design.goal import Judge
from openankh.design.proposal import substitutions
from openankh.mutation import format_mutations

COLUMNS = ("chain", "step", "change", "mutations", "num_mutations", "score")


@dataclass(frozen=True)
class Step:
    """A step of a chain (or of a place among the beams), both counted from 1: one sequence became another."""

    chain: int
    number: int
    before: str
    after: str


def trace_rows(steps: Iterable[Step], parent: str, judge: Judge) -> Iterator[list[str]]:
    """The trace as a table, its header first; `change` is from one step to the next, `mutations` from the parent."""
    yield list(COLUMNS)
    for step in steps:
        mutations = substitutions(step.after, parent)
        change = format_mutations(substitutions(step.after, step.before))
        numbers = [str(len(mutations)), f"{judge.value(step.after):.6g}"]
        yield [str(step.chain), str(step.number), change, format_mutations(mutations), *numbers]
