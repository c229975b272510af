"""`openankh design one`: a share of one protein is hidden and written anew; results are filtered and ranked."""

import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.design_options import (
    HOW,
    KEPT,
    Beams,
    LimitOptions,
    MethodChoice,
    ModelOptions,
    Output,
    Overwrite,
    Parent,
    ScreenOptions,
    Seed,
    TopK,
    TopP,
    check_outputs,
    put_out,
    quiet_threads,
    read_parent,
    require_source,
    tell_left_out,
)
from openankh.cli.options import Json, Quiet

if TYPE_CHECKING:
    from openankh.design.masking import Masking
    from openankh.design.one_settings import OneSettings
    from openankh.generation.residue_rules import ResidueRules

_HIDDEN = Group("What is hidden", sort_key=1)
_RULES = Group("Which residues may stand where", sort_key=2)

RecipeName = Annotated[
    str | None,
    Parameter(
        name="--recipe",
        group=_HIDDEN,
        help="The Ankh paper's settings to begin with: nanobody (50 % hidden, t = 1) or nanobody-warm (40 %, t = 1.5).",
    ),
]
Share = Annotated[float | None, Parameter(group=_HIDDEN, help="Of the places that may be hidden; 1 hides them all.")]
Region = Annotated[str, Parameter(group=_HIDDEN, help="Places that may be hidden, as 26-35,50-58; else all.")]
Fixed = Annotated[str, Parameter(group=_HIDDEN, help="Places that are never hidden, as 22,96-98.")]
Masks = Annotated[int | None, Parameter(group=_HIDDEN, help="How many times it is drawn what is hidden.")]
Window = Annotated[
    int | None, Parameter(group=_HIDDEN, help="Sentinels shown at once; more is written in several goes.")
]
PerMask = Annotated[int | None, Parameter(group=HOW, help="Results of each mask; at most as many as beams.")]
Temperature = Annotated[
    float | None, Parameter(name=("--temperature", "-t"), group=HOW, help="Above 1 more varied, below 1 more likely.")
]
Letters = Annotated[str | None, Parameter(group=_RULES, help="What may be written; else the 20 standard amino acids.")]
Forbid = Annotated[str, Parameter(group=_RULES, help="Residues that are not written, such as C.")]
Allow = Annotated[str, Parameter(group=_RULES, help="Places, from 1, and what may be written there: 27=AST,30=G.")]
Num = Annotated[int | None, Parameter(name=("--num", "-n"), group=KEPT, help="Of those that pass, so many best.")]
RankChoice = Annotated[
    Literal["mean-log-prob", "pseudo-log-likelihood"] | None,
    Parameter(
        name="--rank", group=KEPT, help="By what was written, as it was; or each residue hidden in turn, a pass each."
    ),
]
Duplicates = Annotated[
    bool, Parameter(negative=(), group=KEPT, help="Keep proposals that are equal, or equal to the protein itself.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Changes:
    """Settings that are to be other ones than the recipe's; named as those."""

    share: Share = None
    masks: Masks = None
    window: Window = None
    per_mask: PerMask = None
    temperature: Temperature = None
    method: MethodChoice = None
    beams: Beams = None
    top_k: TopK = None
    top_p: TopP = None
    rank: RankChoice = None
    num: Num = None
    seed: Seed = None

    def settings(self, recipe: str | None) -> "OneSettings":
        """A recipe's settings, or the ordinary ones, with these."""
        from openankh.design.one_settings import settings_of

        return settings_of(recipe, {field.name: getattr(self, field.name) for field in fields(self)})


@Parameter(name="*")
@dataclass(frozen=True)
class PlaceOptions:
    """Places that may change, and to what."""

    region: Region = ""
    fixed: Fixed = ""
    letters: Letters = None
    forbid: Forbid = ""
    allow: Allow = ""

    def masking(self, share: float) -> "Masking":
        """What is hidden."""
        from openankh.design.masking import Masking, parse_places

        return Masking(share, parse_places(self.region, "--region"), parse_places(self.fixed, "--fixed"))

    def rules(self) -> "ResidueRules":
        """What may be written."""
        from openankh.generation.residue_rules import ResidueRules

        return ResidueRules.of(self.letters, self.forbid, "", self.allow)


def one(
    source: Parent,
    /,
    *,
    output: Output = None,
    overwrite: Overwrite = False,
    recipe: RecipeName = None,
    changes: Changes = Changes(),
    places: PlaceOptions = PlaceOptions(),
    limits: LimitOptions = LimitOptions(),  # noqa: B008
    duplicates: Duplicates = False,
    screen: ScreenOptions = ScreenOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Variants of one protein: a share of it is hidden, again and again, and written anew.

    What passes the filters is ranked. Without --recipe: half hidden, 20 times, 5 results of 30 beams each.
    """
    quiet_threads()

    from openankh.design.filters import Filtering
    from openankh.design.one_writing import ranked, rewritten
    from openankh.design.screening import Screening

    settings = changes.settings(recipe)
    masking, rules = places.masking(settings.share), places.rules()
    filtering = Filtering(limits.filter(unique=not duplicates, needs_alignment=False))
    screening = Screening(screen.read())
    paths = check_outputs(output, overwrite)
    require_source(source)
    start = time.perf_counter()
    loaded = model.load()
    parent = read_parent(source, loaded.vocab)
    with report.progress("writing", settings.masks, unit="masks", quiet=quiet) as bar:
        made = rewritten(loaded, parent, masking, settings, rules, bar.reach)
        kept = list(screening.of(filtering.of(made)))
    with report.progress("ranking", len(kept), unit="proteins", quiet=quiet) as bar:
        best = ranked(kept, loaded, parent, settings, bar.reach)
    put_out(best, paths, as_json=json)
    tell_left_out(filtering, screening, quiet)
    where = output or "standard output"
    report.note(f"{where}: {len(best):,} proposals, the best of {len(kept):,} that passed", quiet=quiet)
    if json and paths is not None:
        facts = {
            "output": output,
            "parent": parent.id,
            "proposals": len(best),
            "passed": len(kept),
            "left_out": dict(filtering.dropped),
            "screen_hits": screening.num_hits if screening.screen else None,
            "settings": asdict(settings),
            "model": loaded.pinned_name,
            "seconds": round(time.perf_counter() - start, 1),
        }
        report.result(facts, as_json=True)
