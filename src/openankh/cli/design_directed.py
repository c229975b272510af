"""`openankh design directed`: mutants of a protein that a score or a predictor prefers, within a budget of changes."""

import time
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.design_options import (
    KEPT,
    WRITTEN,
    LimitOptions,
    ModelOptions,
    Output,
    Overwrite,
    Parent,
    ScreenOptions,
    check_outputs,
    put_out,
    quiet_threads,
    read_parent,
    require_source,
    tell_left_out,
)
from openankh.cli.options import Json, Quiet
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.design.directed_run import Directed
    from openankh.design.directed_settings import DirectedSettings
    from openankh.design.goal import Goal
    from openankh.design.mutant_space import MutantSpace
    from openankh.fasta import Record
    from openankh.tasks.predicting import Predictions

_GOAL = Group("What is wanted", sort_key=1)
_SEARCH = Group("How mutants are searched", sort_key=2)
_RULES = Group("Which residues may stand where", sort_key=3)
_SLOW = 100
"""Single changes that may be used where each mutant costs a pass or more, unless told."""

ScoreMethod = Annotated[
    Literal["masked-marginal", "wild-type-marginal", "pseudo-log-likelihood", "likelihood"] | None,
    Parameter(name="--score", group=_GOAL, help="A score as `openankh score` gives it; masked-marginal if not told."),
]
PredictorFolder = Annotated[
    Path | None,
    Parameter(
        name="--predictor",
        group=_GOAL,
        help="An artifact of `openankh finetune` or a name of the package (solubility), of whole proteins.",
    ),
]
PredictorModel = Annotated[
    str | None, Parameter(group=_GOAL, help="Where the model is that the predictor was trained on, if it has moved.")
]
Target = Annotated[str | None, Parameter(group=_GOAL, help="Of a predictor of classes: the one that is wanted.")]
Minimise = Annotated[bool, Parameter(negative=(), group=_GOAL, help="Less is better.")]
SearchName = Annotated[
    Literal["greedy", "beam", "metropolis"] | None,
    Parameter(name="--search", group=_SEARCH, help="The best change again and again; several at once; a random walk."),
]
Budget = Annotated[int | None, Parameter(group=_SEARCH, help="Substitutions at most.")]
Beams = Annotated[int | None, Parameter(group=_SEARCH, help="Of beam: mutants that are gone on with.")]
Chains = Annotated[int | None, Parameter(group=_SEARCH, help="Of metropolis: walks side by side.")]
Steps = Annotated[int | None, Parameter(group=_SEARCH, help="Of metropolis: moves that each tries.")]
Temperature = Annotated[
    float | None,
    Parameter(name=("--temperature", "-t"), group=_SEARCH, help="Of metropolis: in the unit of what is wanted."),
]
Candidates = Annotated[
    int | None,
    Parameter(
        group=_SEARCH,
        help="Use the so many single changes that masked-marginal prefers; 0 all. Else all, and of scores that read "
        f"each mutant {_SLOW}.",
    ),
]
Seed = Annotated[int | None, Parameter(group=_SEARCH, help="Of metropolis; the same one gives the same again.")]
Num = Annotated[int | None, Parameter(name=("--num", "-n"), group=KEPT, help="So many best mutants.")]
Region = Annotated[str, Parameter(group=_RULES, help="Places that may change, as 26-35,50-58; else all.")]
Fixed = Annotated[str, Parameter(group=_RULES, help="Places that never change, as 22,96-98.")]
Letters = Annotated[str | None, Parameter(group=_RULES, help="What may be put in; else the 20 standard amino acids.")]
Forbid = Annotated[str, Parameter(group=_RULES, help="Residues that are not put in, such as C.")]
Allow = Annotated[str, Parameter(group=_RULES, help="Places, from 1, and what may be put there: 27=AST,30=G.")]
Trace = Annotated[
    str | None, Parameter(group=WRITTEN, help="A CSV of the steps that were taken; else OUT.trace.csv beside OUT.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class GoalOptions:
    """What is wanted."""

    score: ScoreMethod = None
    predictor: PredictorFolder = None
    predictor_model: PredictorModel = None
    target: Target = None
    minimise: Minimise = False

    def check(self) -> None:
        """Raise UserError for choices that exclude each other."""
        if self.predictor is not None and self.score is not None:
            raise UserError("--score and --predictor: give one of them")
        for name, value in (("--target", self.target), ("--predictor-model", self.predictor_model)):
            if value is not None and self.predictor is None:
                raise UserError(f"{name}: goes with --predictor, which is not given")

    @property
    def is_slow(self) -> bool:
        """Whether each mutant costs one pass or more of the model."""
        return self.score in ("pseudo-log-likelihood", "likelihood")


@Parameter(name="*")
@dataclass(frozen=True)
class Changes:
    """Settings that are to be other ones than the ordinary; named as those."""

    search: SearchName = None
    budget: Budget = None
    num: Num = None
    beams: Beams = None
    chains: Chains = None
    steps: Steps = None
    temperature: Temperature = None
    candidates: Candidates = None
    seed: Seed = None

    def settings(self, is_slow: bool) -> "DirectedSettings":
        """The settings with these."""
        from openankh.design.directed_settings import DirectedSettings

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        start = DirectedSettings(candidates=_SLOW if is_slow else 0)
        return replace(start, **{name: value for name, value in given.items() if value is not None})


@Parameter(name="*")
@dataclass(frozen=True)
class PlaceOptions:
    """Places that may change, and to what."""

    region: Region = ""
    fixed: Fixed = ""
    letters: Letters = None
    forbid: Forbid = ""
    allow: Allow = ""

    def space(self, parent: str) -> "MutantSpace":
        """The mutants that may be proposed."""
        from openankh.design.masking import Masking, parse_places, require_within
        from openankh.design.mutant_space import MutantSpace
        from openankh.generation.residue_rules import ResidueRules

        masking = Masking(1.0, parse_places(self.region, "--region"), parse_places(self.fixed, "--fixed"))
        rules = ResidueRules.of(self.letters, self.forbid, "", self.allow)
        require_within(tuple(place for place, _ in rules.fixed), len(parent), "--allow")
        return MutantSpace.of(parent, masking, rules)


def directed(
    source: Parent,
    /,
    *,
    output: Output = None,
    trace: Trace = None,
    overwrite: Overwrite = False,
    goal: GoalOptions = GoalOptions(),
    changes: Changes = Changes(),
    places: PlaceOptions = PlaceOptions(),
    limits: LimitOptions = LimitOptions(),  # noqa: B008
    screen: ScreenOptions = ScreenOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Mutants of a protein that a score or a learned predictor prefers.

    Of all that were judged the best are told, beside what the goal says of the protein itself.
    """
    quiet_threads()

    from openankh.design.directed_run import direct
    from openankh.design.filters import Filtering
    from openankh.design.screening import Screening

    goal.check()
    settings = changes.settings(goal.is_slow)
    filtering = Filtering(limits.filter(unique=True, needs_alignment=False))
    screening = Screening(screen.read())
    paths = check_outputs(output, overwrite)
    trace_path = _trace_path(trace, paths, overwrite)
    require_source(source)
    start = time.perf_counter()
    parent, space, wanted, name = _prepared(source, goal, settings, places, model, quiet)
    with report.progress("searching", unit="mutants", quiet=quiet) as bar:
        found = direct(space, parent, wanted, settings, name, minimises=goal.minimise, told=bar.reach)
    best_ones = islice(screening.of(filtering.of(found.proposals)), settings.num)
    kept = [replace(each, id=f"{parent.id}/{number}") for number, each in enumerate(best_ones, start=1)]
    put_out(kept, paths, as_json=json)
    _write_trace(trace_path, found, parent)
    tell_left_out(filtering, screening, quiet)
    best = f", from {found.parent_value:.4g} to {kept[0].score:.4g}" if kept else ""
    report.note(
        f"{output or 'standard output'}: {len(kept):,} mutants of {len(found.judge.known) - 1:,}{best}", quiet=quiet
    )
    if json and paths is not None:
        facts = {
            "output": output,
            "trace": trace_path,
            "parent": parent.id,
            "goal": wanted.name,
            "parent_score": found.parent_value,
            "best_score": kept[0].score if kept else None,
            "proposals": len(kept),
            "judged": len(found.judge.known) - 1,
            "steps_taken": len(found.steps),
            "screen_hits": screening.num_hits if screening.screen else None,
            "settings": asdict(settings),
            "model": name,
            "seconds": round(time.perf_counter() - start, 1),
        }
        report.result(facts, as_json=True)


def _prepared(
    source: str,
    goal: GoalOptions,
    settings: "DirectedSettings",
    places: PlaceOptions,
    model: ModelOptions,
    quiet: bool,
) -> "tuple[Record, MutantSpace, Goal, str]":
    """The protein, its mutants, what is wanted of them, and where that comes from."""
    from openankh.design.directed_run import score_goal
    from openankh.scoring.method import ScoringOptions

    predictions = _predictions(goal, model)
    loaded = model.load() if predictions is None or settings.candidates else None
    vocab = predictions.embedder.vocab if predictions else loaded.vocab  # type: ignore[union-attr]
    parent = read_parent(source, vocab)
    space = places.space(parent.sequence)
    if loaded is not None and settings.candidates:
        with report.progress("choosing candidates", unit="inputs", quiet=quiet) as bar:
            scorer = loaded.scorer(ScoringOptions(), lambda done, total: bar.reach(done, total=total))
            space = space.narrowed(scorer.scan(parent.sequence), settings.candidates)
    if predictions is not None:
        from openankh.design.goal import PredictorGoal

        return parent, space, PredictorGoal(predictions, goal.target), str(goal.predictor)
    assert loaded is not None
    wanted = score_goal(loaded, parent.sequence, ScoringOptions(goal.score or "masked-marginal"))
    return parent, space, wanted, loaded.pinned_name


def _predictions(goal: GoalOptions, model: ModelOptions) -> "Predictions | None":
    """The predictor that was named, ready to predict."""
    if goal.predictor is None:
        return None
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.tasks.predicting import load_predictor

    access = ModelAccess(model.device, model.trust_pickle, model.offline)
    return load_predictor(goal.predictor, access, goal.predictor_model)


def _trace_path(trace: str | None, paths: tuple[Path, Path] | None, overwrite: bool) -> Path | None:
    from openankh.design.proposal_files import check_new_file

    if trace is None and paths is None:
        return None
    return check_new_file(trace or str(paths[0].with_suffix(".trace.csv")), overwrite)  # type: ignore[index]


def _write_trace(path: Path | None, found: "Directed", parent: "Record") -> None:
    from openankh.design.proposal_files import table_of
    from openankh.design.trace import trace_rows
    from openankh.files import write_file_atomically

    if path is not None:
        write_file_atomically(path, table_of(trace_rows(found.steps, parent.sequence, found.judge)))
