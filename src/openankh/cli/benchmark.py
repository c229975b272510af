"""`openankh benchmark`: tasks x models x heads x seeds in one table, beside baselines, controls and published rows."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Offline, Precision, Quiet, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.benchmarking.campaign import Watched
    from openankh.benchmarking.options import BenchmarkOptions

_WHAT = Group("What is measured", sort_key=1)
_SMALLER = Group("Less of it, for quick trials", sort_key=2)

ListTasks = Annotated[
    bool, Parameter(name="--list", negative=(), help="Show the tasks with unit, target, metrics, sizes and sources.")
]
Output = Annotated[
    Path | None,
    Parameter(name=("--output", "-o"), help="A folder for results; the same command goes on where it stopped."),
]
Tasks = Annotated[
    str,
    Parameter(
        group=_WHAT, help="Names with commas between, also TOML files of your own; all: each whose data is there."
    ),
]
Models = Annotated[
    str, Parameter(name=("--models", "-m"), group=_WHAT, help="Names or folders, as of -m elsewhere, commas between.")
]
Heads = Annotated[
    str,
    Parameter(
        group=_WHAT,
        help="Of linear, mlp, convbert (as published), light-attention and, for contacts, attention: a logistic "
        "regression on attention maps.",
    ),
]
Seeds = Annotated[int, Parameter(group=_WHAT, help="Heads trained of each kind, with seeds 0, 1, …")]
Data = Annotated[
    Path | None,
    Parameter(group=_WHAT, help="A folder laid out as docs/data.md says; without it, published files are fetched."),
]
Baselines = Annotated[
    str | None,
    Parameter(
        group=_WHAT,
        help="Of one-hot, composition and random (the network with random weights), or none; else all, random but for "
        "encoders of over 100 million parameters.",
    ),
]
Shuffled = Annotated[
    bool, Parameter(negative="--no-shuffled", group=_WHAT, help="The first model taught shuffled labels, the control.")
]
Limit = Annotated[
    tuple[str, ...],
    Parameter(
        name="--limit", group=_SMALLER, negative=(), help="Proteins of each split: 100, or fold=500,paratope=100."
    ),
]
TrainLimit = Annotated[
    tuple[str, ...],
    Parameter(name="--train-limit", group=_SMALLER, negative=(), help="The same of training splits alone."),
]
Epochs = Annotated[
    int | None, Parameter(group=_SMALLER, help="At most so many; at least 5 and 1,500 steps if not given.")
]
Resume = Annotated[
    bool, Parameter(negative="--no-resume", help="Keep what is finished; --no-resume measures the tasks named anew.")
]
Plot = Annotated[bool, Parameter(negative="--no-plot", help="Draw benchmark.png (extra `plots`).")]
Cache = Annotated[
    Path | None, Parameter(help="Where rows of models are kept; else states in $XDG_CACHE_HOME/openankh.")
]


def benchmark(
    *,
    list_tasks: ListTasks = False,
    output: Output = None,
    tasks: Tasks = "all",
    models: Models = DEFAULT_MODEL,
    heads: Heads = "linear,convbert",
    seeds: Seeds = 3,
    data: Data = None,
    baselines: Baselines = None,
    shuffled: Shuffled = True,
    limit: Limit = (),
    train_limit: TrainLimit = (),
    epochs: Epochs = None,
    resume: Resume = True,
    plot: Plot = True,
    cache: Cache = None,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Models on downstream tasks, with baselines and controls: one table, its numbers as JSON, a plot.

    Every cell, a task x model x head x seed, is kept when it is finished; a killed benchmark goes on with the same
    command, and another one may add tasks, models, heads and seeds to the same folder.
    """
    if list_tasks:
        _list(data, json)
        return
    if output is None:
        raise UserError("no folder for results is named; give one with -o, or --list to see the tasks")
    before_torch.settle()

    from openankh.benchmarking.campaign import require_writable, run_benchmark
    from openankh.benchmarking.options import BASELINES, BENCHMARK_HEADS, BenchmarkOptions, parse_limits, parse_words
    from openankh.benchmarking.write_up import require_plots
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.tasks.named_tasks import task_names

    require_writable(output)
    if plot:
        require_plots()
    named = () if baselines == "none" else parse_words(baselines, "baselines", BASELINES) if baselines else None
    options = BenchmarkOptions(
        out=output,
        tasks=task_names() if tasks == "all" else parse_words(tasks, "tasks"),
        models=parse_words(models, "models"),
        heads=parse_words(heads, "heads", BENCHMARK_HEADS),  # type: ignore[arg-type]  # pyright: ignore
        num_seeds=seeds,
        data=data,
        skips_missing=tasks == "all",
        limits=parse_limits(limit, "limit"),
        train_limits=parse_limits(train_limit, "train-limit"),
        epochs=epochs,
        baselines=named,  # type: ignore[arg-type]  # pyright: ignore
        shuffled=shuffled,
        resume=resume,
        precision=precision,
        access=ModelAccess(device, trust_pickle, offline, unknown="x"),
        cache=cache,
        plot=plot,
    )
    with _watching(quiet) as watched:
        run_benchmark(options, _command(options, limit, train_limit, baselines), watched)
    _tell(options, json, quiet)


@contextmanager
def _watching(quiet: bool) -> "Iterator[Watched]":
    from openankh.benchmarking.campaign import Watched

    with report.progress("benchmark", unit="cells", quiet=quiet) as bar:
        yield Watched(
            lambda text: report.note(text, quiet=quiet),
            lambda done, total, now: bar.reach(round(done), total=round(total), note=now),
        )


def _list(data: Path | None, json: bool) -> None:
    from openankh.benchmarking.listing import task_lines

    lines = task_lines(data)
    if json:
        report.table(lines, as_json=True)
        return
    rows = [
        {
            "task": line.task,
            "unit": line.unit,
            "target": line.target,
            "metrics": " ".join(line.metrics),
            "proteins": " ".join(f"{name} {num:,}" for name, num in line.sizes.items()),
            "residues": line.residues,
            **({} if line.is_here is None else {"here": line.is_here}),
            "source": line.source,
        }
        for line in lines
    ]
    report.table(rows, as_json=False)


def _command(
    options: "BenchmarkOptions", limit: tuple[str, ...], train_limit: tuple[str, ...], baselines: str | None
) -> str:
    """What measures the same again, all that decides the numbers written out."""
    from openankh.tasks.named_tasks import task_names

    tasks = "all" if options.tasks == task_names() else ",".join(options.tasks)
    words = ["openankh", "benchmark", "--tasks", tasks, "--models", ",".join(options.models)]
    words += ["--heads", ",".join(options.heads), "--seeds", str(options.num_seeds)]
    for name, value in (
        ("--data", options.data),
        ("--baselines", baselines),
        ("--limit", ",".join(limit)),
        ("--train-limit", ",".join(train_limit)),
        ("--epochs", options.epochs),
        ("--precision", None if options.precision == "auto" else options.precision),
    ):
        if value:
            words += [name, str(value)]
    words += [] if options.shuffled else ["--no-shuffled"]
    return shlex.join([*words, "-o", str(options.out)])


def _tell(options: "BenchmarkOptions", json: bool, quiet: bool) -> None:
    from openankh.benchmarking.write_up import NUMBERS, PLOT, TABLE
    from openankh.json_file import read_json_object

    found = read_json_object(options.out / NUMBERS, max_bytes=1 << 30)
    if json:
        report.result(found, as_json=True)
        return
    names = ("who", "head", "value", "low", "high")
    report.table(
        [
            {
                "task": table["task"],
                "test": table["test"],
                "metric": table["metric"],
                **{name: row[name] for name in names},
            }
            for table in found["tables"]
            for row in table["rows"]
        ],
        as_json=False,
    )
    for line in found["warnings"]:
        report.note(f"warning: {line}", quiet=quiet)
    written = f"{options.out / TABLE}, {NUMBERS}{f', {PLOT}' if options.plot else ''}"
    report.note(f"the whole table: {written}", quiet=quiet)
