"""Annotation transfer on CATH as cells of a benchmark: nearest domains, nothing trained."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from openankh.benchmarking.cell import Cell, CellKey, CellSettings, Figure, Kind, Seconds
from openankh.loaded import LoadedModel
from openankh.lookup.cath_benchmark import TEST, VALIDATION, Accuracy, run_cath
from openankh.lookup.watching import Watcher
from openankh.pretraining.run_record import environment
from openankh.tasks.examples import TaskData

HEAD = "nearest"


def transfer_cells(
    key: CellKey,
    settings: CellSettings,
    data: TaskData,
    model: LoadedModel,
    folder: Path,
    limit: int | None,
    num_random: int,
    watcher: Watcher,
) -> Iterator[Cell]:
    """The controls' cells, then the model's, so that where it stands all stand; shares of queries, not per cent."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    result = run_cath(model, folder, num_random=num_random, watcher=watcher, limit=limit)
    seconds = Seconds(time.perf_counter() - begun, time.process_time() - begun_cpu)
    splits = {name: len(part) for name, part in data.splits.items()}
    for row in reversed(result.rows):
        is_model = row is result.rows[0]
        kind: Kind = "model" if is_model else "random" if row.name.startswith("random weights") else "baseline"
        who = key.who if is_model else f"{key.who}, {row.name}" if kind == "random" else row.name
        own = replace(key, who=who, kind=kind, of="" if kind == "baseline" else key.of)
        figures = {"valid": _figures(row.accuracy[VALIDATION]), "test": _figures(row.accuracy[TEST])}
        own_settings = settings if kind != "baseline" else replace(settings, model_sha256="", precision="")
        yield Cell(own, own_settings, splits, figures, {}, {}, {}, seconds if is_model else Seconds(), environment())


def _figures(accuracy: Accuracy) -> dict[str, Figure]:
    return {
        level: Figure(each.value / 100, each.low / 100, each.high / 100, each.num)
        if each.num
        else Figure(None, None, None, 0)
        for level, each in accuracy.items()
    }
