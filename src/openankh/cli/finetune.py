"""`openankh finetune`: a head learned from labelled proteins, kept as an artifact that `openankh predict` takes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Precision, Quiet, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.lookup.watching import Watcher
    from openankh.tasks.cached_states import RowSource
    from openankh.tasks.examples import TaskData
    from openankh.tasks.finetuning import BaseModel, Finetuned, HeadChoice
    from openankh.tasks.fitting import Epoch, FitOptions

_DATA = Group("What is learned", sort_key=1)
_HEAD = Group("How it is learned", sort_key=2)
_LORA = Group("What else is trained", sort_key=3)

TaskOrTable = Annotated[
    str,
    Parameter(help="A task by name, its TOML file, or a CSV, TSV, Parquet or FASTA file of sequences with labels."),
]
Output = Annotated[Path, Parameter(name=("--output", "-o"), help="The artifact's folder.")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace the artifact that stands there.")]
Data = Annotated[
    Path | None,
    Parameter(group=_DATA, help="A folder laid out as docs/data.md says; without it, published files are fetched."),
]
Kind = Annotated[
    Literal["auto", "classes", "number", "labels", "residues"],
    Parameter(group=_DATA, help="Of a table: what the labels are, if that is not what is recognised."),
]
SequenceColumn = Annotated[str, Parameter(group=_DATA, help="Of a table: the column of sequences.")]
LabelColumn = Annotated[str, Parameter(name="--label", group=_DATA, help="Of a table: the column of labels.")]
SplitColumn = Annotated[
    str, Parameter(name="--split", group=_DATA, help="Of a table: the column that says train, valid or test.")
]
Unknown = Annotated[
    Literal["error", "x"], Parameter(group=_DATA, help="Of a table: letters that are no residues, refused or read X.")
]
HeadName = Annotated[
    Literal["linear", "mlp", "convbert", "light-attention", "attention"] | None,
    Parameter(
        name="--head",
        group=_HEAD,
        help="linear for pairs, else convbert as published, if none is named; attention: contacts from attention maps.",
    ),
]
Epochs = Annotated[int | None, Parameter(group=_HEAD, help="At most so many; at least 5 and 1,500 steps if not given.")]
BatchSize = Annotated[int, Parameter(group=_HEAD, help="Proteins of a step.")]
LearningRate = Annotated[
    float | None, Parameter(group=_HEAD, help="At its highest; else 1e-3, and 1e-2 for a linear head alone.")
]
Patience = Annotated[int | None, Parameter(group=_HEAD, help="Stop after so many epochs without a better one.")]
ClassWeights = Annotated[
    Literal["none", "balanced"], Parameter(group=_HEAD, help="balanced: rare classes count as much as frequent ones.")
]
Seed = Annotated[
    tuple[int, ...], Parameter(name="--seed", group=_HEAD, negative=(), help="Repeat for several; the best is kept.")
]
Layer = Annotated[int, Parameter(group=_HEAD, help="The layer whose rows the head reads, as in openankh embed.")]
Mode = Annotated[
    Literal["frozen", "lora", "full"],
    Parameter(group=_LORA, help="frozen: the head alone; lora: small matrices beside it; full: the whole encoder."),
]
EncoderRate = Annotated[
    float | None,
    Parameter(group=_LORA, help="The encoder's learning rate at its highest; else 1e-4 in full, the head's with LoRA."),
]
LoraRank = Annotated[
    int | None, Parameter(name="--lora", group=_LORA, help="LoRA's rank, 16 if none is given; it means --mode lora.")
]
LoraAlpha = Annotated[float, Parameter(group=_LORA, help="What is added is weighed by this over the rank.")]
LoraTargets = Annotated[str, Parameter(group=_LORA, help="The projections it is added to: of q, k, v, o.")]
Cache = Annotated[
    Path | None, Parameter(group=_HEAD, help="Where rows are kept; else states in $XDG_CACHE_HOME/openankh.")
]


def finetune(
    task: TaskOrTable,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    data: Data = None,
    kind: Kind = "auto",
    sequence: SequenceColumn = "sequence",
    label: LabelColumn = "label",
    split: SplitColumn = "split",
    unknown: Unknown = "error",
    head: HeadName = None,
    epochs: Epochs = None,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = None,
    patience: Patience = None,
    class_weights: ClassWeights = "none",
    seed: Seed = (0,),
    layer: Layer = -1,
    cache: Cache = None,
    mode: Mode = "frozen",
    encoder_rate: EncoderRate = None,
    lora: LoraRank = None,
    lora_alpha: LoraAlpha = 16.0,
    lora_targets: LoraTargets = "q,v",
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A head learned from labelled proteins on the rows of a model.

    Rows of the frozen model are computed once and kept; heads of any kind are then trained without it. With --mode lora
    or full the encoder learns too, in fp32 or with --precision bf16. The artifact is read back and must say the same,
    bit for bit.
    """
    before_torch.settle()

    from openankh.embedding.options import EmbedOptions
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.tasks.finetuning import BaseModel, HeadChoice, save_finetuned
    from openankh.tasks.fitting import FitOptions
    from openankh.tasks.own_rows import Columns

    _require_free(output, overwrite)
    tuning = _Tuning.of(mode, head, encoder_rate, lora, lora_alpha, lora_targets)
    fit = FitOptions(epochs, batch_size, learning_rate, encoder_rate, patience=patience, class_weights=class_weights)
    seeds = _seeds(seed)
    found = _read(task, data, kind, Columns(sequence, label, split, unknown=unknown), offline, quiet)
    choice = HeadChoice(head or ("linear" if found.task.unit == "pair" else "convbert"))
    access = ModelAccess(device, trust_pickle, offline)
    base = BaseModel(model, layer, EmbedOptions(precision=precision), access, cache)
    made, states = _train(found, choice, base, tuning, fit, seeds, quiet)
    save_finetuned(made, output, found, states)
    report.note(f"{output}: read back, the same logits bit for bit", quiet=quiet)
    _tell(output, made, json)


@dataclass(frozen=True)
class _Tuning:
    """Whether the encoder learns too, and how; `lora` is (rank, alpha, projections)."""

    mode: str
    lora: tuple[int, float, tuple[str, ...]] = (16, 16.0, ("q", "v"))

    @classmethod
    def of(
        cls, mode: str, head: str | None, rate: float | None, rank: int | None, alpha: float, targets: str
    ) -> "_Tuning":
        """From the options; UserError for those that do not go together."""
        if rank is not None and mode == "full":
            raise UserError(
                "--lora: does not go with --mode full, which trains the whole encoder; leave one of them out"
            )
        mode = "lora" if rank is not None else mode
        if rate is not None and mode == "frozen":
            raise UserError("--encoder-rate: the encoder stays as it is; add --mode lora or --mode full")
        if head == "attention" and mode != "frozen":
            raise UserError(f"--head attention: reads the model as it is; leave --mode {mode} out")
        names = tuple(targets.replace(" ", "").split(","))
        return cls(mode, (16 if rank is None else rank, alpha, names))


def _train(
    data: "TaskData",
    choice: "HeadChoice",
    base: "BaseModel",
    tuning: _Tuning,
    fit: "FitOptions",
    seeds: tuple[int, ...],
    quiet: bool,
) -> "tuple[Finetuned, RowSource]":
    """What was learned, in the mode that was chosen, and the rows it reads."""
    from openankh.tasks.attention_learning import attention_rows, finetune_attention
    from openankh.tasks.finetuning import finetune, finetune_full, finetune_lora, states_of
    from openankh.tasks.lora import LoraConfig

    metric = data.task.metric
    if tuning.mode == "lora":
        config = LoraConfig(*tuning.lora)
        with _training(metric, quiet) as on_epoch:
            return finetune_lora(data, choice, base, config, fit, seeds, on_epoch)
    if tuning.mode == "full":
        with _training(metric, quiet) as on_epoch:
            return finetune_full(data, choice, base, fit, seeds, on_epoch)
    if choice.name == "attention":
        choice.config(data, width=1)
        maps = attention_rows(base)
        with _training(metric, quiet) as on_epoch:
            return finetune_attention(data, maps, seeds, on_epoch), maps
    with _watching(quiet) as watcher:
        states = states_of(data, choice, base, watcher)
    with _training(metric, quiet) as on_epoch:
        return finetune(data, choice, states, fit, seeds, on_epoch), states


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse to replace what is no artifact, and an artifact unless that is wanted."""
    from openankh.tasks.artifact import is_artifact

    if output.exists() and not (output.is_dir() and (is_artifact(output) or not any(output.iterdir()))):
        raise UserError(f"{output}: exists already and is no artifact; choose another name")
    if is_artifact(output) and not overwrite:
        raise UserError(f"{output}: exists already; choose another name or add --overwrite")
    if not output.absolute().parent.is_dir():
        raise UserError(f"cannot write {output}: the folder {output.absolute().parent} does not exist; create it first")


def _seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(seeds)) or (0,)
    if min(found) < 0:
        raise UserError(f"seed {min(found)}: give 0 or more")
    return found


def _read(task: str, data: Path | None, kind: Any, columns: Any, offline: bool, quiet: bool) -> "TaskData":
    """A named task's data, or a user's own table, told before anything is trained."""
    from openankh.tasks.data_folder import DataFolder
    from openankh.tasks.loading import load_task
    from openankh.tasks.named_tasks import find_task, task_names
    from openankh.tasks.own_data import OwnOptions, read_own_data
    from openankh.tasks.published_files import data_source

    if task not in task_names() and not task.endswith(".toml") and Path(task).exists():
        if data is not None:
            raise UserError(f"{task}: is a file of its own; --data is for tasks by name")
        own = read_own_data(task, OwnOptions(columns, kind))
        for line in own.description:
            report.note(line, quiet=quiet)
        return own.data
    if task not in task_names() and Path(task).suffix and not task.endswith(".toml"):
        raise UserError(f"{task}: no such file; give a table, or one of the tasks {', '.join(task_names())}")
    named = find_task(task)
    found = load_task(named, DataFolder(data) if data is not None else data_source(None, offline))
    splits = ", ".join(f"{name} {len(part):,}" for name, part in found.splits.items())
    for line in (f"{named.title}: {splits}", *found.notes):
        report.note(line, quiet=quiet)
    return found


@contextmanager
def _watching(quiet: bool) -> Iterator["Watcher"]:
    """One bar for what the embedding of the proteins comes to."""
    from openankh.lookup.watching import Watcher

    with report.progress("rows of proteins", quiet=quiet) as bar:
        yield Watcher(lambda what, done, total, unit: bar.reach(done, total=total, note=unit))


@contextmanager
def _training(metric: str, quiet: bool) -> Iterator["Callable[[int, Epoch, int], None]"]:
    with report.progress("training", quiet=quiet) as bar:

        def on_epoch(seed: int, epoch: "Epoch", num_epochs: int) -> None:
            bar.reach(epoch.number, total=num_epochs, note=f"seed {seed} {metric} {epoch.valid_score:.4f}")

        yield on_epoch


def _tell(output: Path, made: "Finetuned", json: bool) -> None:
    facts: dict[str, Any] = {
        "artifact": output,
        "head": made.artifact.config.name,
        "best_epoch": made.fitted.best_epoch,
        "seed": made.artifact.origin.training["seed"],
    }
    if len(made.valid_scores) > 1:
        facts["valid_by_seed"] = made.valid_scores
    if json:
        report.result({**facts, "metrics": made.artifact.metrics}, as_json=True)
        return
    report.result({**facts, **_shown(made.artifact.metrics)}, as_json=False)


def _shown(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Each metric of each split with its interval, in one line."""
    return {
        f"{split} {metric}": "not a number"
        if found["value"] is None
        else f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
        for split, measured in metrics.items()
        for metric, found in measured.items()
    }
