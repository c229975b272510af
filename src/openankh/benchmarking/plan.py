"""What is to be measured of a task: each entrant under each head that fits, with each seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from openankh.benchmarking.baseline_rows import baselines_of
from openankh.benchmarking.cell import CellKey
from openankh.benchmarking.entrants import Entrant
from openankh.benchmarking.options import BenchmarkHead, BenchmarkOptions
from openankh.tasks.examples import TaskData
from openankh.tasks.task import Unit

SEPARATION, NO_HEAD = "distance along the chain", "none"


@dataclass(frozen=True)
class Work:
    """One cell to be, and whose rows it needs."""

    key: CellKey
    entrant: Entrant
    head: BenchmarkHead | None


def fits(head: BenchmarkHead, unit: Unit) -> bool:
    """Whether a head can say what is asked of this unit."""
    if head == "attention":
        return unit == "pair"
    return head != "light-attention" or unit == "protein"


def planned(options: BenchmarkOptions, data: TaskData, draws_random: Callable[[str], bool]) -> list[Work]:
    """All cells of a task, in the order of measuring; `draws_random` tells whether a model gets a random twin."""
    found = [
        Work(CellKey(data.task.name, entrant.name, entrant.kind, head, seed, entrant.model), entrant, head)
        for head in options.heads
        if fits(head, data.task.unit)
        for entrant in _entrants(options, data, head, draws_random)
        for seed in range(options.num_seeds)
    ]
    if found and data.task.unit == "pair" and options.wants("composition"):
        key = CellKey(data.task.name, SEPARATION, "baseline", NO_HEAD, 0)
        found.append(Work(key, Entrant(SEPARATION, "baseline"), None))
    return found


def _entrants(
    options: BenchmarkOptions, data: TaskData, head: BenchmarkHead, draws_random: Callable[[str], bool]
) -> Iterator[Entrant]:
    yield from (Entrant(model, "model", model) for model in options.models)
    for model in options.models:
        if options.wants("random") and draws_random(model):
            yield random_twin(model)
    if head != "attention":
        for rows in baselines_of(data, head):
            if options.wants(rows.group):
                yield Entrant(rows.name, "baseline", baseline=rows)
    if options.shuffled:
        yield from (Entrant(f"{model}, shuffled labels", "shuffled", model) for model in options.models[:1])


def random_twin(model: str) -> Entrant:
    """A model's network with random weights."""
    return Entrant(f"{model}, random weights", "random", model)


def left_out(heads: Sequence[BenchmarkHead], unit: Unit) -> tuple[BenchmarkHead, ...]:
    """Heads that do not fit."""
    return tuple(head for head in heads if not fits(head, unit))
