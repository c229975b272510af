"""`openankh design family`: a model is adapted to a protein family, then writes behind its members' beginnings."""

import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.design_options import (
    HOW,
    KEPT,
    WRITTEN,
    Beams,
    LimitOptions,
    MethodChoice,
    ModelOptions,
    Overwrite,
    ScreenOptions,
    Seed,
    TopK,
    TopP,
    quiet_threads,
    tell_left_out,
)
from openankh.cli.options import Json, Quiet, read_source

if TYPE_CHECKING:
    from openankh.design.adaptation import Adapted
    from openankh.design.family_run import FamilyFolder, FamilyTask, Written
    from openankh.design.family_settings import FamilySettings
    from openankh.design.filters import Filtering
    from openankh.design.screening import Screening
    from openankh.loaded import LoadedModel

_LEARNED = Group("What is learned", sort_key=1)
_PROMPTS = Group("What proposals begin with", sort_key=2)

Source = Annotated[
    str,
    Parameter(
        name="FAMILY",
        converter=read_source,
        help="FASTA, plain or compressed (- is standard input), or a CSV or TSV table with a column of sequences.",
    ),
]
Out = Annotated[
    Path,
    Parameter(
        name=("--output", "-o"), group=WRITTEN, help="A folder: the adapted model, proposals, what was held out."
    ),
]
RecipeName = Annotated[
    str | None,
    Parameter(
        name="--recipe", group=_LEARNED, help="Settings to begin with: mdh, the Ankh paper's; options change them."
    ),
]
Column = Annotated[str, Parameter(group=_LEARNED, help="Of a table: the column of sequences.")]
Groups = Annotated[
    str | None,
    Parameter(group=_LEARNED, help="Of a table: a column of clusters; members of one are held out together."),
]
TuneChoice = Annotated[
    Literal["decoder", "lora", "full"] | None,
    Parameter(name="--tune", group=_LEARNED, help="The decoder, the encoder being frozen; LoRA on both; all weights."),
]
Epochs = Annotated[int | None, Parameter(group=_LEARNED, help="Times each member is learned; 0 adapts nothing.")]
LearningRate = Annotated[float | None, Parameter(group=_LEARNED, help="At its highest.")]
OptimiserChoice = Annotated[
    Literal["adamw", "adafactor", "muon"] | None,
    Parameter(name="--optimiser", group=_LEARNED, help="muon: matrices at 10/3 of the learning rate."),
]
Batch = Annotated[int | None, Parameter(group=_LEARNED, help="Members of a step.")]
LoraRank = Annotated[int | None, Parameter(group=_LEARNED, help="Of the matrices added with --tune lora.")]
LoraAlpha = Annotated[float | None, Parameter(group=_LEARNED, help="Their weight, over the rank.")]
Length = Annotated[
    int | None, Parameter(group=_LEARNED, help="Residues of a member that are learned, and of a proposal at most.")
]
Holdout = Annotated[float | None, Parameter(group=_LEARNED, help="Share of members that are not learned.")]
PromptLength = Annotated[int | None, Parameter(name="--prompt", group=_PROMPTS, help="Residues that are given.")]
PromptsOf = Annotated[
    Literal["held-out", "learned"] | None,
    Parameter(name="--prompts", group=_PROMPTS, help="Whose beginnings: members held out, or those learned."),
]
Num = Annotated[int | None, Parameter(name=("--num", "-n"), group=HOW, help="Proposals at each temperature.")]
Temperatures = Annotated[
    list[float] | None,
    Parameter(
        name=("--temperatures", "-t"), group=HOW, consume_multiple=True, negative=(), help="One or more, as -t 1 1.5 2."
    ),
]
MinLength = Annotated[int | None, Parameter(group=HOW, help="The model may end a proposal from this length on.")]
Unique = Annotated[bool, Parameter(negative=(), group=KEPT, help="Leave out what was proposed before.")]
Resume = Annotated[
    bool,
    Parameter(negative=(), group=WRITTEN, help="Go on: what is adapted, and each temperature that is there, stays."),
]


@Parameter(name="*")
@dataclass(frozen=True)
class Changes:
    """Settings that are to be other ones than the recipe's; named as those."""

    tune: TuneChoice = None
    epochs: Epochs = None
    learning_rate: LearningRate = None
    optimiser: OptimiserChoice = None
    batch: Batch = None
    lora_rank: LoraRank = None
    lora_alpha: LoraAlpha = None
    length: Length = None
    holdout: Holdout = None
    prompt: PromptLength = None
    prompts: PromptsOf = None
    num: Num = None
    temperatures: Temperatures = None
    method: MethodChoice = None
    beams: Beams = None
    top_k: TopK = None
    top_p: TopP = None
    min_length: MinLength = None
    seed: Seed = None

    def settings(self, recipe: str | None) -> "FamilySettings":
        """A recipe's settings, or the ordinary ones, with these."""
        from openankh.design.family_settings import settings_of

        changes = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.temperatures is not None:
            changes["temperatures"] = tuple(self.temperatures)
        return settings_of(recipe, changes)


@Parameter(name="*")
@dataclass(frozen=True)
class FamilyOptions:
    """The family's file, and how it is read."""

    column: Column = "sequence"
    groups: Groups = None


def family(
    source: Source,
    /,
    *,
    output: Out,
    recipe: RecipeName = None,
    table: FamilyOptions = FamilyOptions(),
    changes: Changes = Changes(),
    limits: LimitOptions = LimitOptions(),  # noqa: B008
    unique: Unique = False,
    screen: ScreenOptions = ScreenOptions(),  # noqa: B008
    resume: Resume = False,
    overwrite: Overwrite = False,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Proteins like those of a family.

    A model is adapted to the family's members and saved; then it writes behind the first residues of natural members,
    at each temperature. Without --recipe: the decoder, 2 epochs at 3e-4, 512 residues, 100 proposals at t = 1.
    """
    quiet_threads()

    from openankh.design.family_run import FamilyFolder
    from openankh.design.filters import Filtering
    from openankh.design.screening import Screening

    settings = changes.settings(recipe)
    filtering = Filtering(limits.filter(unique=unique, needs_alignment=True))
    screening = Screening(screen.read())
    folder = FamilyFolder(output)
    folder.require_new(overwrite, resume)
    start = time.perf_counter()
    loaded, task = _prepared(folder, source, table, settings, model, resume, quiet)
    written: list[Written] = []
    for temperature in settings.temperatures:
        fasta, _ = folder.proposals(temperature)
        if resume and fasta.exists():
            report.note(f"{fasta}: is there already", quiet=quiet)
        else:
            written.append(_write(folder, task, loaded, temperature, filtering, screening, quiet))
    tell_left_out(filtering, screening, quiet)
    if json:
        facts = {
            "output": output,
            "model": folder.model if settings.epochs else loaded.pinned_name,
            "settings": asdict(settings),
            "written": written,
            "left_out": dict(filtering.dropped),
            "screen_hits": screening.num_hits if screening.screen else None,
            "seconds": round(time.perf_counter() - start, 1),
        }
        report.result(facts, as_json=True)


def _prepared(
    folder: "FamilyFolder",
    source: str,
    table: FamilyOptions,
    settings: "FamilySettings",
    model: ModelOptions,
    resume: bool,
    quiet: bool,
) -> "tuple[LoadedModel, FamilyTask]":
    """The model that writes: the one named, or adapted now, or before."""
    from openankh.design.family import read_family
    from openankh.design.family_run import FamilyTask, adapt_and_save, require_same

    loaded = model.load("fp32" if settings.epochs and not resume else None)
    task = FamilyTask.of(read_family(source, loaded.vocab, table.column, table.groups), settings)
    if task.num_short:
        report.note(f"{source}: {task.num_short:,} members are no longer than the prompt; left out", quiet=quiet)
    if not settings.epochs:
        return loaded, task
    if resume:
        require_same(folder, task, loaded.pinned_name)
    else:
        with report.progress("adapting", unit="steps", quiet=quiet) as bar:
            adapted = adapt_and_save(
                folder, task, loaded, lambda step, steps, loss: bar.reach(step, total=steps, note=f"loss {loss:.3f}")
            )
        _tell(adapted, task, folder, quiet)
    return replace(model, model=str(folder.model)).load(), task


def _write(
    folder: "FamilyFolder",
    task: "FamilyTask",
    loaded: "LoadedModel",
    temperature: float,
    filtering: "Filtering",
    screening: "Screening",
    quiet: bool,
) -> "Written":
    from openankh.design.family_run import write_at

    with report.progress(f"writing, t = {temperature:g}", task.settings.num, unit="proteins", quiet=quiet) as bar:
        found = write_at(folder, task, loaded, temperature, filtering, screening, bar.reach)
    mean = "" if found.mean_log_prob is None else f", {found.mean_log_prob:.3f} nats a residue"
    report.note(
        f"{found.file}: {found.proposals:,} proposals, {found.different:,} of them different{mean}", quiet=quiet
    )
    return found


def _tell(adapted: "Adapted", task: "FamilyTask", folder: "FamilyFolder", quiet: bool) -> None:
    """How the losses went."""
    members = f"{len(task.members.learned):,} members learned, {len(task.members.held_out):,} held out"
    report.note(f"{folder.model}: {adapted.num_trained:,} parameters trained, {members}", quiet=quiet)
    for epoch in adapted.history:
        if epoch.held_out_loss is not None:
            report.note(f"epoch {epoch.number}: {epoch.held_out_loss:.3f} nats a held-out residue", quiet=quiet)
