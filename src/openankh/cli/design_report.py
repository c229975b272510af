"""`openankh design report`: designs held against a natural family, in one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.options import Json, Quiet
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.judging.judgement import Judgement
    from openankh.judging.protein_set import ProteinSet

_AGAINST = Group("What they are held against", sort_key=1)
_HOW = Group("How", sort_key=2)
_WRITTEN = Group("What is written", sort_key=3)

Designs = Annotated[
    str, Parameter(help="FASTA files or tables of designs, a set each; NAME=FILE gives a set its name.")
]
Family = Annotated[
    Path, Parameter(group=_AGAINST, help="The natural family, 20 proteins or more: FASTA, or a table with `sequence`.")
]
Controls = Annotated[
    list[str] | None,
    Parameter(
        name="--control",
        negative=(),
        group=_AGAINST,
        help="A file of other proteins to stand beside them, such as those of a model not tuned; may be repeated.",
    ),
]
Accept = Annotated[float, Parameter(group=_HOW, help="The E-value up to which the profile accepts a protein.")]
Learned = Annotated[int, Parameter(group=_HOW, help="Naturals the profile is made of, at most; of half of the family.")]
NumControls = Annotated[
    int | None,
    Parameter(name="--num-controls", group=_HOW, help="Naturals held out and shuffled; as many as designs else."),
]
Seed = Annotated[int, Parameter(group=_HOW, help="Of all that is drawn: halves, samples, shuffling.")]
Output = Annotated[
    Path,
    Parameter(
        name=("--output", "-o"), group=_WRITTEN, help="A folder: report.html, report.json, proteins.csv, family.hmm."
    ),
]
Title = Annotated[str | None, Parameter(group=_WRITTEN, help="The page's title.")]
Overwrite = Annotated[bool, Parameter(negative=(), group=_WRITTEN, help="Replace what stands at the folder.")]


def design_report(
    *designs: Designs,
    family: Family,
    output: Output,
    control: Controls = None,
    accept: Accept = 1e-10,
    learned: Learned = 2000,
    num_controls: NumControls = None,
    seed: Seed = 0,
    title: Title = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge designs against a natural family: is each a member, new, different, as varied as nature?

    A profile of half of the family scores every design, beside naturals it has not seen and shuffled ones.
    """
    from openankh.judging.judge import judge
    from openankh.judging.judgement import JudgeOptions
    from openankh.judging.protein_set import read_set
    from openankh.judging.report_folder import PAGE, write_report
    from openankh.judging.requirements import require_judging

    options = JudgeOptions(accept, learned, num_controls, seed)
    require_judging()
    _require_place(output, overwrite)
    if not designs:
        raise UserError("name at least one file of designs")
    naturals = read_set(family)
    asked, beside = [_named(each) for each in designs], [_named(each) for each in control or ()]
    with report.progress("judging", unit="sets", quiet=quiet) as bar:
        judgement = judge(
            asked, naturals, beside, options, lambda what, done, total: bar.reach(done, total=total, note=what)
        )
        write_report(judgement, output, title or f"Designs beside {family.name}")
    report.note(f"{output / PAGE}: {_told(judgement)}", quiet=quiet)
    if json:
        report.result(_facts(judgement, output), as_json=True)


def _require_place(output: Path, overwrite: bool) -> None:
    if output.exists() and (not overwrite or not output.is_dir()):
        raise UserError(f"{output}: exists already; choose another name" + " or add --overwrite" * output.is_dir())
    if not output.absolute().parent.is_dir():
        raise UserError(f"cannot write {output}: the folder {output.absolute().parent} does not exist; create it first")


def _named(text: str) -> "ProteinSet":
    """The set of a file, or of NAME=FILE."""
    from openankh.judging.protein_set import read_set

    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return read_set(text)
    if not name.strip():
        raise UserError(f"{text}: has no name before =; write NAME=FILE")
    return read_set(path, name.strip())


def _told(judgement: "Judgement") -> str:
    """The shares accepted, in one line."""
    shares = (f"{each.name} {100 * each.accepted.value:.1f} %" for each in judgement.sets)
    return f"accepted at E <= {judgement.options.accept:g}: {', '.join(shares)}"


def _facts(judgement: "Judgement", output: Path) -> dict[str, object]:
    def fields(each: object, names: Sequence[str]) -> dict[str, object]:
        return {name: getattr(each, name) for name in names}

    return {
        "output": output,
        "accept": judgement.options.accept,
        "family": fields(judgement.family, ("num_proteins", "num_distinct", "num_learned", "num_columns")),
        "sets": [
            {**fields(each, ("name", "kind", "accepted", "novel", "unique", "entropy")), "num_proteins": len(each)}
            for each in judgement.sets
        ],
    }
