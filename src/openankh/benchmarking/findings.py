"""What all cells of a benchmark come to: of each task and test set one row a head and entrant, seeds together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from openankh.benchmarking.annotation_transfer import HEAD as NEAREST
from openankh.benchmarking.cell import Cell, CellKey, Kind, cells_in
from openankh.benchmarking.options import BENCHMARK_HEADS
from openankh.benchmarking.plan import NO_HEAD
from openankh.search.cath import LEVELS
from openankh.tasks.named_tasks import task_names

_KINDS: tuple[Kind, ...] = ("model", "random", "baseline", "shuffled")
KEPT_BY_CONTROL = 0.1
"""A control that keeps more of a model's gain over chance than this, beyond its own noise, is warned of."""


@dataclass(frozen=True)
class Comparison:
    """How much better than the best baseline, with the 95 % interval of the difference over resampled proteins.

    `low` and `high` are None where only intervals of both are known; then `is_beyond` says that these do not touch.
    """

    metric: str
    baseline: str
    difference: float
    low: float | None
    high: float | None
    is_beyond: bool


@dataclass(frozen=True)
class Row:
    """One entrant under one head: means over seeds; the interval is of that mean, `spread` one deviation of seeds."""

    who: str
    kind: Kind
    head: str
    seeds: tuple[int, ...]
    num: int
    value: float | None
    low: float | None
    high: float | None
    spread: float | None
    figures: Mapping[str, float | None]
    row_seconds: float
    training_seconds: float
    chance: float | None = None
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class TestTable:
    """All rows of one test set of one task; `epochs` are the most allowed, of heads that it was limited for."""

    task: str
    test: str
    metric: str
    rows: tuple[Row, ...]
    splits: Mapping[str, int]
    limit: int | None
    train_limit: int | None
    epochs: Mapping[str, int]
    commands: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, the deciding one first."""
        return tuple(self.rows[0].figures)


@dataclass(frozen=True)
class Findings:
    """Everything a benchmark has measured so far."""

    tables: tuple[TestTable, ...]
    machines: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = field(default=())


def read_findings(out: Path) -> Findings | None:
    """Of all finished cells; None before the first is."""
    cells = list(cells_in(out))
    if not cells:
        return None
    order = {name: number for number, name in enumerate(task_names())}
    names = sorted({cell.key.task for cell in cells}, key=lambda name: (order.get(name, len(order)), name))
    tables = [table for name in names for table in _tables([cell for cell in cells if cell.key.task == name])]
    machines = {str(sorted(cell.machine.items())): cell.machine for cell in cells}
    warnings = tuple(f"{table.task}: {line}" for table in tables for line in table.warnings)
    return Findings(tuple(tables), tuple(machines.values()), warnings)


def _tables(cells: Sequence[Cell]) -> list[TestTable]:
    tests = [name for name in cells[0].figures if name != "valid"]
    return [_table(cells, test) for test in tests]


def _table(cells: Sequence[Cell], test: str) -> TestTable:
    metric = "T" if cells[0].key.head == NEAREST else next(iter(cells[0].figures[test]))
    groups: dict[CellKey, list[Cell]] = {}
    for cell in cells:
        key = CellKey(cell.key.task, cell.key.who, cell.key.kind, cell.key.head, 0, cell.key.of)
        groups.setdefault(key, []).append(cell)
    heads = (*BENCHMARK_HEADS, NO_HEAD, NEAREST)
    ordered = sorted(groups, key=lambda key: (heads.index(key.head), _KINDS.index(key.kind), key.of, key.who))
    rows = [_row(groups[key], test, metric) for key in ordered]
    by_row = {id(row): groups[key] for row, key in zip(rows, ordered, strict=True)}
    told = tuple(_with_comparisons(row, rows, by_row, test) if row.kind == "model" else row for row in rows)
    settings = cells[0].settings
    return TestTable(
        cells[0].key.task, test, metric, told, cells[0].splits, settings.limit, settings.train_limit,
        {cell.key.head: cell.settings.epochs for cell in cells if cell.settings.epochs is not None},
        tuple(dict.fromkeys(cell.command for cell in cells)),
        tuple(_warnings(told)),
    )  # fmt: skip


def _row(cells: Sequence[Cell], test: str, metric: str) -> Row:
    cells = sorted(cells, key=lambda cell: cell.key.seed)
    key = cells[0].key
    figures = {name: _mean([cell.figures[test][name].value for cell in cells]) for name in cells[0].figures[test]}
    values = [value for cell in cells if (value := cell.figures[test][metric].value) is not None]
    low, high = _interval(cells, test, metric)
    return Row(
        key.who,
        key.kind,
        key.head,
        tuple(cell.key.seed for cell in cells),
        cells[0].figures[test][metric].num,
        _mean(values),
        low,
        high,
        stdev(values) if len(values) > 1 else None,
        figures,
        max(cell.seconds.rows_cpu for cell in cells),
        fmean(cell.seconds.training_cpu for cell in cells),
        _mean([cell.chance.get(test) for cell in cells]) if key.kind == "shuffled" else None,
    )


def _interval(cells: Sequence[Cell], test: str, metric: str) -> tuple[float | None, float | None]:
    """Of the mean over seeds, by the resamplings that all seeds share."""
    draws_R = _mean_draws(cells, test)
    if draws_R is not None:
        return _percentiles(draws_R)
    figure = cells[0].figures[test][metric]
    return figure.low, figure.high


def _mean_draws(cells: Sequence[Cell], test: str) -> np.ndarray | None:
    found = [cell.draws.get(test) for cell in cells]
    if not all(found):
        return None
    return np.mean(np.array(found, np.float64), axis=0)


def _percentiles(draws_R: np.ndarray) -> tuple[float | None, float | None]:
    known_R = draws_R[~np.isnan(draws_R)]
    if not len(known_R):
        return None, None
    low, high = np.percentile(known_R, (2.5, 97.5))
    return float(low), float(high)


def _with_comparisons(row: Row, rows: Sequence[Row], cells: Mapping[int, list[Cell]], test: str) -> Row:
    """The row with how it stands to the best baseline of its head, for annotation transfer at each level."""
    against = [each for each in rows if each.kind in ("random", "baseline") and each.head in (row.head, NO_HEAD)]
    metrics = LEVELS if row.head == NEAREST else (next(iter(row.figures)),)
    found = [_comparison(row, against, cells, test, metric) for metric in metrics]
    return Row(**{**row.__dict__, "comparisons": tuple(each for each in found if each is not None)})


def _comparison(
    row: Row, against: Sequence[Row], cells: Mapping[int, list[Cell]], test: str, metric: str
) -> Comparison | None:
    known = [(value, each) for each in against if (value := each.figures[metric]) is not None]
    ours = row.figures[metric]
    if not known or ours is None:
        return None
    theirs, best = max(known, key=lambda pair: pair[0])
    our_draws, their_draws = _mean_draws(cells[id(row)], test), _mean_draws(cells[id(best)], test)
    if our_draws is None or their_draws is None:
        our_figure, their_figure = (cells[id(each)][0].figures[test][metric] for each in (row, best))
        is_beyond = (our_figure.low or -math.inf) > (their_figure.high or math.inf)
        return Comparison(metric, best.who, ours - theirs, None, None, is_beyond)
    low, high = _percentiles(our_draws - their_draws)
    return Comparison(metric, best.who, ours - theirs, low, high, low is not None and low > 0)


def _warnings(rows: Sequence[Row]) -> list[str]:
    """Of controls that did not fall to chance."""
    found = []
    for row in rows:
        if row.kind != "shuffled" or row.value is None or row.chance is None:
            continue
        of = row.who.removesuffix(", shuffled labels")
        model = next((each for each in rows if each.kind == "model" and (each.who, each.head) == (of, row.head)), None)
        if model is None or model.value is None:
            continue
        gain, kept = model.value - row.chance, row.value - row.chance
        noise = max(2 * (row.spread or 0.0) / math.sqrt(len(row.seeds)), ((row.high or 0.0) - (row.low or 0.0)) / 2)
        if kept > noise and kept > KEPT_BY_CONTROL * max(gain, 0.0):
            found.append(
                f"{row.who} under {row.head} did not fall to chance: {row.value:.3f} beside {row.chance:.3f}, "
                f"where the true labels give {model.value:.3f}"
                + ("; of one seed, so its noise is not known" if len(row.seeds) == 1 else "")
            )
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
