"""What a benchmark measures and how: tasks, models, heads, seeds, and how many proteins of each task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from openankh.errors import UserError
from openankh.lookup.vector_kind import ModelAccess
from openankh.precision import Precision
from openankh.tasks.named_tasks import task_names

Baseline = Literal["one-hot", "composition", "random"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
BenchmarkHead = Literal["linear", "mlp", "convbert", "light-attention", "attention"]
BENCHMARK_HEADS: tuple[BenchmarkHead, ...] = get_args(BenchmarkHead)
"""The heads of `openankh finetune`, and for contacts a logistic regression on attention maps."""


@dataclass(frozen=True)
class Limits:
    """How many proteins of a split are taken at most: everywhere, or by task; None for all."""

    everywhere: int | None = None
    by_task: Mapping[str, int] = field(default_factory=dict)

    def of(self, task: str) -> int | None:
        """That of a task."""
        return self.by_task.get(task, self.everywhere)


@dataclass(frozen=True)
class BenchmarkOptions:
    """All that was asked for.

    `skips_missing`: tasks whose data is not there are left out and told, rather than refused. `limits` are of every
    split, `train_limits` of the training split alone. `baselines` None: all, random weights only
    for encoders that are not too large to be drawn anew. `epochs` None is what heads are trained for elsewhere.
    """

    out: Path
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    heads: tuple[BenchmarkHead, ...] = ("linear", "convbert")
    num_seeds: int = 3
    data: Path | None = None
    skips_missing: bool = False
    limits: Limits = field(default_factory=Limits)
    train_limits: Limits = field(default_factory=Limits)
    epochs: int | None = None
    baselines: tuple[Baseline, ...] | None = None
    shuffled: bool = True
    resume: bool = True
    precision: Precision = "auto"
    access: ModelAccess = field(default_factory=ModelAccess)
    cache: Path | None = None
    plot: bool = True

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise UserError(f"seeds is {self.num_seeds}; give 1 or more")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; give 1 or more")
        for what, values in (("task", self.tasks), ("model", self.models), ("head", self.heads)):
            if not values:
                raise UserError(f"no {what} is named; name one with --{what}s")

    def wants(self, baseline: Baseline) -> bool:
        """Whether a baseline is to be measured, as far as it was said."""
        return self.baselines is None or baseline in self.baselines


def parse_words(text: str, what: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Words between commas, each once; UserError for none, and where they are to be `known` for another."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UserError(f"--{what} names none; give {', '.join(known[:3]) if known else 'names with commas between'}")
    for word in words:
        if known and word not in known:
            raise UserError(f"--{what} {word!r}: not one of {', '.join(known)}")
    return words


def parse_limits(texts: tuple[str, ...], what: str) -> Limits:
    """`500`, or `fold=500,contact-ca=100`, or several of these; UserError for what is neither."""
    everywhere: int | None = None
    by_task: dict[str, int] = {}
    for word in (word.strip() for text in texts for word in text.split(",")):
        task, equals, number = word.rpartition("=")
        if not number.isascii() or not number.isdigit() or int(number) < 1:
            raise UserError(f"--{what} {word!r}: give a number of proteins from 1, or TASK=NUMBER")
        if not equals:
            everywhere = int(number)
        elif task not in task_names() and not task.endswith(".toml"):
            raise UserError(f"--{what} {word!r}: no such task; there are {', '.join(task_names())}")
        else:
            by_task[Path(task).stem if task.endswith(".toml") else task] = int(number)
    return Limits(everywhere, by_task)
