"""`openankh pretrain`: train a new model by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.options import Json, Offline, Quiet, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.pretraining.engine import Engine
    from openankh.pretraining.recipes import Recipe

_LENGTH = Group("How long", sort_key=1)
_ENGINE = Group("How steps are computed (what is learned stays the same)", sort_key=2)
_DRY = Group("What it would take", sort_key=3)

RecipeName = Annotated[
    str, Parameter(help="A recipe, or an experiment of the Ankh paper such as exp8-tiny: see --list.")
]
Settings = Annotated[
    str, Parameter(help="Changes of the recipe as key=value, such as optimiser.learning_rate=0.01 or seed=1.")
]
CorpusFolder = Annotated[Path | None, Parameter(help="A corpus made by `openankh prepare`.")]
Out = Annotated[Path | None, Parameter(name=("--out", "-o"), help="The run's folder: log, checkpoints, best/ model.")]
Resume = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Go on with the run in --out from its newest whole checkpoint. SIGTERM, SIGUSR1, Ctrl-C and the end of a "
        "slice leave one, with exit code 75.",
    ),
]
Minutes = Annotated[
    float | None, Parameter(group=_LENGTH, help="Plan the learning rate for so many minutes instead of total_steps.")
]
SliceMinutes = Annotated[
    float | None, Parameter(group=_LENGTH, help="Stop after so many minutes with a checkpoint, to be resumed later.")
]
Threads = Annotated[int | None, Parameter(help="CPU threads; the same number gives the same bits.")]
TrainingDevice = Annotated[str, Parameter(help="auto, cpu, cuda or cuda:N; auto takes a GPU when it sees one.")]
SharedOut = Annotated[
    str,
    Parameter(
        name="--sharding",
        group=_ENGINE,
        help="none: each rank of torchrun or SLURM holds the whole model. full: each holds a part of all weights, "
        "gradients and optimiser state (FSDP2), for models that do not fit.",
    ),
]
Recompute = Annotated[
    bool,
    Parameter(
        negative=(),
        group=_ENGINE,
        help="Activation checkpointing: compute each layer again on the way back instead of keeping what it made.",
    ),
]
Compile = Annotated[
    str, Parameter(group=_ENGINE, help="Compile the layers: on, off, or auto, which does so on GPUs that have Triton.")
]
Licence = Annotated[str, Parameter(help="The model's licence, an SPDX name such as CC-BY-4.0, told in its folder.")]
Init = Annotated[
    str | None,
    Parameter(help="Begin with the weights of this model, named as -m elsewhere, or of an earlier run's folder."),
]
InitOptimiser = Annotated[
    Literal["fresh", "resumed"], Parameter(help="With --init RUN: resume that run's optimiser, or begin a fresh one.")
]
Log = Annotated[
    Literal["trackio", "wandb"] | None, Parameter(help="Tell every number to this tracker too, an extra to install.")
]
ChangedCode = Annotated[
    Literal["refuse", "tell"], Parameter(help="With --resume, where the code has changed since the run began.")
]
Dry = Annotated[
    bool,
    Parameter(
        name="--dry-run", negative=(), group=_DRY, help="Tell memory, tokens, operations, hours and disk, and stop."
    ),
]
Gpu = Annotated[
    str, Parameter(group=_DRY, help="Reckon with h100, h200, b200, a100, l40s or rtx4090; cpu is this machine's own.")
]
Gpus = Annotated[int, Parameter(group=_DRY, help="How many of them.")]
Utilisation = Annotated[float, Parameter(group=_DRY, help="The share of their peak that training is to reach.")]
PricePerHour = Annotated[float | None, Parameter(group=_DRY, help="What an hour of one costs.")]
ListRecipes = Annotated[bool, Parameter(name="--list", negative=(), help="Show the recipes and stop.")]
ShowSettings = Annotated[
    bool, Parameter(name="--settings", negative=(), help="Show the recipe's settings, changes included, and stop.")
]


def pretrain(
    recipe: RecipeName = "nano",
    /,
    *settings: Settings,
    corpus: CorpusFolder = None,
    out: Out = None,
    resume: Resume = False,
    minutes: Minutes = None,
    slice_minutes: SliceMinutes = None,
    threads: Threads = None,
    device: TrainingDevice = "auto",
    licence: Licence = "",
    init: Init = None,
    optimiser: InitOptimiser = "fresh",
    log: Log = None,
    changed_code: ChangedCode = "refuse",
    sharding: SharedOut = "none",
    recompute: Recompute = False,
    compile: Compile = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    list_recipes: ListRecipes = False,
    show_settings: ShowSettings = False,
    dry_run: Dry = False,
    gpu: Gpu = "h100",
    gpus: Gpus = 1,
    utilisation: Utilisation = 0.4,
    price_per_hour: PricePerHour = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a new model by a recipe.

    SIGTERM, SIGUSR1 and Ctrl-C stop a run with a checkpoint; the same command with --resume goes on. The exit code is
    0 when the run is finished, 75 when it stopped earlier and can be resumed.
    """
    from openankh.pretraining.engine import engine_of
    from openankh.pretraining.named_runs import run_named
    from openankh.pretraining.ranks import OtherRankError, is_first_rank
    from openankh.pretraining.run_options import RunOptions
    from openankh.pretraining.settings import setting_values
    from openankh.pretraining.stop_signals import STOPPED_EXIT_CODE
    from openankh.pretraining.training_run import pretrain as run

    if list_recipes:
        report.table([*_recipe_rows(), *_experiment_rows()], as_json=json)
        return 0
    chosen = run_named(recipe, settings)
    if show_settings:
        report.result(setting_values(chosen), as_json=json)
        return 0
    if dry_run:
        engine = engine_of(sharding, recompute, compile)
        return _tell_plan(chosen, gpu, gpus, utilisation, price_per_hour, engine, corpus, json)
    if corpus is None or out is None:
        raise UserError("pretrain needs --corpus CORPUS, made by `openankh prepare`, and --out RUN, a folder")
    use_threads(threads)
    options = RunOptions(
        corpus, out, resume, minutes, slice_minutes, training_device(device), licence, init, trust_pickle, offline,
        optimiser=optimiser, log=log, changed_code=changed_code, engine=engine_of(sharding, recompute, compile),
    )  # fmt: skip
    with training_progress(quiet) as progress:
        try:
            summary = run(chosen, options, progress)
        except OtherRankError:
            return 2  # the rank that failed tells why
    if is_first_rank():
        report.result(summary, as_json=json)
    return 0 if summary.finished else STOPPED_EXIT_CODE


def _tell_plan(
    recipe: "Recipe",
    gpu: str,
    num_gpus: int,
    utilisation: float,
    price_per_hour: float | None,
    engine: "Engine",
    folder: Path | None,
    as_json: bool,
) -> int:
    from openankh.cli.pretraining_plan import plan_facts
    from openankh.corpus import Corpus
    from openankh.pretraining.beginning import check_corpus
    from openankh.pretraining.dry_run import Plan, dry_run

    plan = Plan(gpu, num_gpus, utilisation, price_per_hour, engine)
    corpus = None if folder is None else Corpus.open(folder)
    if corpus is not None:
        check_corpus(recipe, corpus)
    report.result(plan_facts(dry_run(recipe, plan, corpus), as_json), as_json=as_json)
    return 0


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads from here on; None leaves it as it is."""
    import torch

    if threads is None:
        return
    if threads < 1:
        raise UserError(f"--threads {threads}: give at least 1")
    torch.set_num_threads(threads)


def training_device(name: str) -> str:
    """The device that `--device` names, `auto` a GPU where one is seen; UserError for one that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: {torch.cuda.device_count()} CUDA GPUs are visible here; give cpu or another")
    return name


def training_progress(quiet: bool):
    """The bar of a run on standard error, or lines where that is no terminal."""
    from rich.console import Console

    from openankh.pretraining.progress import TrainingProgress

    return TrainingProgress(None, console=Console(stderr=True, quiet=quiet))


def _recipe_rows() -> list[dict[str, object]]:
    from openankh.pretraining.recipes import RECIPES

    recipes = [(make(), make.__doc__ or "") for make in RECIPES.values()]
    return [_row(recipe, doc.splitlines()[0]) for recipe, doc in recipes]


def _experiment_rows() -> list[dict[str, object]]:
    from openankh.pretraining.experiments import experiments

    return [_row(each.recipe, f"Ankh paper: {each.what}", each.average) for each in experiments()]


def _row(recipe: "Recipe", what: str, average: float | None = None) -> dict[str, object]:
    return {
        "recipe": recipe.name,
        "parameters": recipe.model.num_parameters,
        "layers": f"{recipe.model.num_encoder_layers}/{recipe.model.num_decoder_layers}",
        "width": recipe.model.d_model,
        "optimiser": recipe.optimiser.name,
        "steps": recipe.total_steps,
        "average": average,
        "what": what,
    }
