"""A benchmark from beginning to end: every cell measured once, kept at once, and written up after each task.

The same command goes on where it stopped: finished cells are never measured again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from openankh.benchmarking.annotation_transfer import HEAD, transfer_cells
from openankh.benchmarking.cell import (
    Cell,
    CellKey,
    CellSettings,
    Seconds,
    read_cell,
    remove_cells,
    require_same_settings,
    write_cell,
)
from openankh.benchmarking.drawn import limited
from openankh.benchmarking.entrants import Entrant, Networks
from openankh.benchmarking.measuring import attention_cell, head_cell, separation_cell
from openankh.benchmarking.options import BenchmarkOptions
from openankh.benchmarking.plan import Work, fits, left_out, planned
from openankh.benchmarking.pooled_rows import PooledRows
from openankh.benchmarking.write_up import write_up
from openankh.errors import UserError
from openankh.files import unwritable_named
from openankh.hardware import choose_device
from openankh.lock import sole_writer
from openankh.lookup.watching import Watcher
from openankh.store import Pool
from openankh.tasks.cached_states import RowSource
from openankh.tasks.data_folder import DataSource
from openankh.tasks.examples import TaskData
from openankh.tasks.finetuning import HeadChoice
from openankh.tasks.fitting import Epoch, FitOptions
from openankh.tasks.heads.head import HEADS, HeadName
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import find_task
from openankh.tasks.predictor import row_pool
from openankh.tasks.published_files import data_source
from openankh.tasks.task import Task


@dataclass(frozen=True)
class Watched:
    """Told of what goes on: a line for each thing worth a line, and how far it is (done, of how many, what now)."""

    note: Callable[[str], None] = lambda text: None
    progress: Callable[[float, float, str], None] = lambda done, total, now: None


def run_benchmark(options: BenchmarkOptions, command: str, watched: Watched | None = None) -> None:
    """Measure all that is asked for and not there yet, and write OUT/benchmark.md, .json and .png.

    `command` is what its reader may repeat. UserError where a finished cell was measured with another setting.
    """
    with unwritable_named(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    with sole_writer(options.out):
        _Campaign(options, command, watched or Watched()).run()


@dataclass
class _Pace:
    """How far it is, and when it may be done: cells yet to come are taken to last as long as those so far did."""

    num_tasks: int
    begun: float = field(default_factory=time.monotonic)
    tasks_done: int = 0
    cells_before: int = 0
    planned: int = 0
    done: int = 0
    measured: int = 0

    @property
    def total(self) -> float:
        """Cells of all tasks, as far as is known."""
        known = self.cells_before + self.planned
        return known * self.num_tasks / max(self.tasks_done + bool(self.planned), 1)

    def left(self) -> str:
        """The time left, in words."""
        if not self.measured:
            return "time left not known yet"
        minutes = (time.monotonic() - self.begun) / self.measured * max(self.total - self.done, 0) / 60
        return f"about {minutes:.0f} min left" if minutes >= 1 else "under a minute left"


class _Campaign:
    def __init__(self, options: BenchmarkOptions, command: str, watched: Watched) -> None:
        self.options, self.command, self.watched = options, command, watched
        self.networks = Networks(options)
        self.source = data_source(options.data, options.access.offline)
        self.tasks = self._with_data([find_task(name) for name in options.tasks])
        self.device = str(choose_device(options.access.device))
        self.pace = _Pace(len(self.tasks))
        self._rows: RowSource | None = None

    def run(self) -> None:
        self._require_a_head()
        self._require_same_limits()
        for model in self.options.models:
            self.networks.facts(model)  # a model that is not there is told before anything is measured
            if self.options.baselines is None and not self.networks.can_be_random(model):
                self.watched.note(f"{model}: no random weights, since it is large; --baselines random has them drawn")
        for task in self.tasks:
            whole = load_task(task, self.source)
            if not self.options.resume:
                remove_cells(self.options.out, task.name)
            limit = self.options.limits.of(task.name)
            if task.is_trained:
                data = limited(whole, limit, self.options.train_limits.of(task.name))
                self._measure(data, [*whole.notes])
            else:
                self._transfer(whole, limit)
            self.pace.tasks_done += 1
            self.pace.cells_before += self.pace.planned
            self.pace.planned = 0
            write_up(self.options.out, self.options.plot)

    def _with_data(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks whose data can be had; what cannot is told before anything is measured."""
        found = []
        for task in tasks:
            missing = missing_file(task, self.source)
            if missing and not self.options.skips_missing:
                self.source.path(missing)  # which says what is missing, and what to do
            if missing:
                self.watched.note(f"{task.name}: left out, {missing} is not there (docs/data.md)")
            else:
                found.append(task)
        if not found:
            raise UserError("the data of no task is there; give the folder that holds it with --data (docs/data.md)")
        return found

    def _require_a_head(self) -> None:
        """Refuse heads of which none fits any task."""
        heads = self.options.heads
        if not any(not task.is_trained or any(fits(head, task.unit) for head in heads) for task in self.tasks):
            units = ", ".join(dict.fromkeys(task.unit for task in self.tasks))
            raise UserError(f"heads {', '.join(heads)}: none is for each {units}; name another with --heads, as linear")

    def _require_same_limits(self) -> None:
        """Refuse other limits than those of finished cells, and of the same heads other epochs, before data is read."""
        if not self.options.resume:
            return
        for task in self.tasks:
            for path in sorted((self.options.out / "cells" / task.name).glob("*.json")):
                cell = read_cell(path)
                found = cell.settings
                wanted = self._settings(task.name, found.data_sha256, found.model_sha256, found.precision)
                if cell.key.head not in self.options.heads:
                    wanted = replace(wanted, epochs=found.epochs)
                require_same_settings(path, found, wanted)

    def _settings(self, task: str, data_sha256: str, model_sha256: str, precision: str) -> CellSettings:
        options = self.options
        train_limit = options.train_limits.of(task)
        return CellSettings(options.limits.of(task), train_limit, options.epochs, data_sha256, model_sha256, precision)

    def _measure(self, data: TaskData, notes: Sequence[str]) -> None:
        works = planned(self.options, data, self._draws_random)
        self._announce(data, works, notes)
        for _, group in groupby(works, key=lambda work: (work.entrant, work.head)):
            self._measure_group(data, list(group))

    def _announce(self, data: TaskData, works: Sequence[Work], notes: Sequence[str]) -> None:
        self.pace.planned = len(works)
        splits = ", ".join(f"{name} {len(part):,}" for name, part in data.splits.items())
        self.watched.note(f"{data.task.name}: {splits}; {len(works)} cells")
        for line in notes:
            self.watched.note(f"{data.task.name}: {line}")
        if heads := left_out(self.options.heads, data.task.unit):
            self.watched.note(f"{data.task.name}: {', '.join(heads)} left out, not for each {data.task.unit}")

    def _draws_random(self, model: str) -> bool:
        return self.options.baselines is not None or self.networks.can_be_random(model)

    def _measure_group(self, data: TaskData, works: Sequence[Work]) -> None:
        """All seeds of an entrant under a head; its rows are opened when the first of them is to be measured."""
        settings = self._settings_of(data, works[0].entrant)
        self._rows = None
        for work in works:
            path = work.key.path(self.options.out)
            if self.options.resume and path.is_file():
                require_same_settings(path, read_cell(path).settings, settings)
            else:
                self._keep(self._measured(work, data, settings), data.task.metric)
            self.pace.done += 1

    def _settings_of(self, data: TaskData, entrant: Entrant) -> CellSettings:
        has_network = bool(entrant.model)
        sha256 = self.networks.identity(entrant).sha256 if has_network else ""
        precision = self.options.precision if has_network else ""
        return self._settings(data.task.name, data.fingerprint, sha256, precision)

    def _measured(self, work: Work, data: TaskData, settings: CellSettings) -> Cell:
        title = f"{work.key.task}, {work.key.who}, {work.key.head}, seed {work.key.seed}"
        if work.head is None:
            return separation_cell(work.key, settings, data)
        if work.head == "attention":
            self._progress(f"{title}: attention maps")
            network, vocab = self.networks.network(work.entrant), self.networks.facts(work.entrant.model).vocab
            return attention_cell(work.key, settings, data, network, vocab)

        def on_epoch(epoch: Epoch, num_epochs: int) -> None:
            self._progress(f"{title}: epoch {epoch.number} of {num_epochs}, {epoch.valid_score:.3f}")

        def on_rows(what: str, done: float, total: float | None, unit: str) -> None:
            self._progress(f"{title}: {done:,.0f} of {total or 0:,.0f} {unit}")

        begun, begun_cpu = time.perf_counter(), time.process_time()
        if self._rows is None:
            self._rows = self._opened(work.entrant, work.head, data, Watcher(progress=on_rows))
        fit = FitOptions(self.options.epochs, seed=work.key.seed, device=self.device)
        took = Seconds(rows=time.perf_counter() - begun, rows_cpu=time.process_time() - begun_cpu)
        return head_cell(work.key, settings, data, self._rows, fit, on_epoch, took)

    def _opened(self, entrant: Entrant, head: HeadName, data: TaskData, watcher: Watcher) -> RowSource:
        """What a head reads; means are formed of residues where another head reads those of the same network."""
        pool = _pool(head, data)
        others: list[HeadName] = [each for each in HEADS if each in self.options.heads and fits(each, data.task.unit)]
        if entrant.model and pool == "mean" and any(_pool(each, data) == "residues" for each in others):
            return PooledRows(self.networks.rows(entrant, data, "residues", watcher))
        return self.networks.rows(entrant, data, pool, watcher)

    def _transfer(self, data: TaskData, limit: int | None) -> None:
        """Annotation transfer, of which all rows of a model are measured together."""
        self.pace.planned = len(self.options.models)
        folder = self.source.path(data.task.sources[0].file).parent
        for model in self.options.models:
            key = CellKey(data.task.name, model, "model", HEAD, 0, model)
            settings = self._settings_of(data, Entrant(model, "model", model))
            path = key.path(self.options.out)
            if self.options.resume and path.is_file():
                require_same_settings(path, read_cell(path).settings, settings)
            else:
                num_random = self.options.num_seeds if self._draws_random(model) and self.options.wants("random") else 0
                loaded = self.networks.load(model)
                told = Watcher(progress=lambda what, done, total, unit: self._progress(f"{what}: {done:,.0f} {unit}"))
                for cell in transfer_cells(key, settings, data, loaded, folder, limit, num_random, told):
                    self._keep(cell, "T")
            self.pace.done += 1

    def _keep(self, cell: Cell, metric: str) -> None:
        with unwritable_named(self.options.out):
            write_cell(self.options.out, replace(cell, command=self.command))
        self.pace.measured += 1
        key, done = cell.key, self.pace.done + 1
        found = " · ".join(
            _shown(split, by_name, metric) for split, by_name in cell.figures.items() if split != "valid"
        )
        took = cell.seconds.rows + cell.seconds.training + cell.seconds.measuring
        self.watched.note(
            f"{key.task} · {key.who} · {key.head} · seed {key.seed}: {found} ({took:.0f} s; cell {done} of "
            f"{self.pace.total:.0f}, {self.pace.left()})"
        )
        self._progress("")

    def _progress(self, now: str) -> None:
        self.watched.progress(self.pace.done, self.pace.total, now)


def _shown(split: str, by_name: object, metric: str) -> str:
    assert isinstance(by_name, dict)
    name = metric if metric in by_name else next(iter(by_name))
    value = by_name[name].value
    return f"{split} {name} {'not a number' if value is None else format(value, '.4f')}"


def _pool(head: HeadName, data: TaskData) -> Pool:
    return row_pool(HeadChoice(head).config(data, width=4))


def missing_file(task: Task, source: DataSource) -> str | None:
    """A file without which a task cannot be measured; a test set may be missing as long as another is there."""
    of_tests = {each.file for each in task.sources if each.split.startswith("test")}
    needed = [file for file in task.files if file not in of_tests]
    missing = next((file for file in needed if not source.has(file)), None)
    if missing is None and of_tests and not any(map(source.has, of_tests)):
        return min(of_tests)
    return missing


def require_writable(out: Path) -> None:
    """Raise UserError where results cannot be kept."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is no folder; name another with -o")
    if not out.absolute().parent.is_dir():
        raise UserError(f"cannot write {out}: the folder {out.absolute().parent} does not exist; create it first")
