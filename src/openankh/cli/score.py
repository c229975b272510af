"""`openankh score`: what a model makes of variants of a protein, all single substitutions or those of a table."""

import csv
import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Quiet, TrustPickle, read_source
from openankh.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from openankh.fasta import Record
    from openankh.loaded import LoadedModel
    from openankh.scoring.method import ScoringOptions
    from openankh.scoring.scan import Scan
    from openankh.scoring.scorer import Score
    from openankh.scoring.variant import Variant
    from openankh.tasks.effect_agreement import EffectAgreement
    from openankh.tasks.table import Table
    from openankh.vocab import Vocab

_WHAT = Group("Which variants", sort_key=1)
_HOW = Group("How they are scored", sort_key=2)
_WRITTEN = Group("What is written", sort_key=3)
_NAMES = ("mutant", "mutation", "mutations", "variant")
_SEQUENCES = ("mutated_sequence", "sequence")
_OURS = ("score", "calibrated_score", "method")

WildType = Annotated[
    str,
    Parameter(
        name="WILD_TYPE",
        converter=read_source,
        help="The protein as one sequence, or a FASTA file with it alone (- is standard input).",
    ),
]
Mutations = Annotated[
    str | None,
    Parameter(
        group=_WHAT,
        help="A CSV or TSV table with a column `mutant` (A23V:G41D, K23del, K23_L24insGS) or `mutated_sequence`; "
        "or one variant.",
    ),
]
AllSingles = Annotated[
    bool, Parameter(negative=(), group=_WHAT, help="All single substitutions; what is done where nothing else is said.")
]
Measured = Annotated[
    str | None,
    Parameter(
        group=_WHAT, help="A column of TABLE with measured effects, higher is fitter: tells how well scores agree."
    ),
]
MethodChoice = Annotated[
    Literal["masked-marginal", "wild-type-marginal", "pseudo-log-likelihood", "likelihood"],
    Parameter(name="--method", group=_HOW, help="One pass a position; one in all; one a residue of each variant; "
              "how likely the changed end is."),
]  # fmt: skip
WindowSize = Annotated[
    int, Parameter(name="--window", group=_HOW, help="Residues of a longer protein that are read at once.")
]
BackgroundChoice = Annotated[
    Literal["protein", "standard"],
    Parameter(name="--background", group=_HOW, help="Calibrate against this protein's composition, or that of all."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Parameter(name="--precision", group="Everywhere", help="Arithmetic of the model; auto is bf16 where it is fast."),
]
Output = Annotated[
    str | None,
    Parameter(name=("--output", "-o"), group=_WRITTEN, help="A CSV file; without it, CSV on standard output."),
]
Plot = Annotated[
    str | None, Parameter(group=_WRITTEN, help="A PNG file for the heatmap of all singles (extra `plots`).")
]
Layout = Annotated[
    Literal["matrix", "list"],
    Parameter(group=_WRITTEN, help="All singles: a row a position and a column an amino acid, or a row a variant."),
]
Overwrite = Annotated[bool, Parameter(negative=(), group=_WRITTEN, help="Replace what stands at the outputs.")]


def score(
    wild_type: WildType,
    /,
    *,
    mutations: Mutations = None,
    all_singles: AllSingles = False,
    measured: Measured = None,
    method: MethodChoice = "masked-marginal",
    window: WindowSize = 1022,
    background: BackgroundChoice = "protein",
    output: Output = None,
    plot: Plot = None,
    layout: Layout = "matrix",
    overwrite: Overwrite = False,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a model makes of variants of a protein, beside the protein itself.

    Scores are differences of log-probabilities in nats: above 0 the model prefers the variant. Beside each stands a
    calibrated one, less what the residues' frequencies alone would give. Positions count from 1.
    """
    before_torch.settle()

    from openankh.scoring.method import ScoringOptions

    options = ScoringOptions(method, window, background)
    _check_choices(mutations, all_singles, plot, layout, output, json)
    if measured is not None and mutations is None:
        raise UserError("--measured: is a column of a table; name the table with --mutations")
    paths = {name: _check_output(name, overwrite) for name in (output, plot) if name is not None}
    if len(paths) < (output is not None) + (plot is not None):
        raise UserError(f"{output}: named for the table and for the plot; give each its own name")

    from openankh.loaded import load

    _require_source(wild_type)
    table = _table(mutations)
    effects = None if measured is None else _effects(mutations, table, measured)
    loaded = load(model, device, precision=precision, trust_pickle=trust_pickle, offline=offline)
    record = _wild_type(wild_type, loaded.vocab)
    run = _Run(loaded, options, record, time.perf_counter())
    target = None if output is None else paths[output]
    agreement = None
    if mutations is None:
        num = _scan(run, target, None if plot is None else paths[plot], layout, quiet)
    else:
        scores = _score_table(run, mutations, table, target, quiet)
        num, agreement = len(scores), None if effects is None else _agreement(scores, effects, quiet)
    _report(run, num, output, plot, agreement, json, quiet)


@dataclass(frozen=True)
class _Run:
    """A run: the model, how it scores, of which protein, and when it began."""

    loaded: "LoadedModel"
    options: "ScoringOptions"
    record: "Record"
    start: float


def _scan(run: _Run, target: Path | None, plot: Path | None, layout: str, quiet: bool) -> int:
    """All singles, how many there are."""
    from openankh.scoring.heatmap import draw, require_drawing

    if plot is not None:
        require_drawing(len(run.record.sequence))
    with report.progress("scoring", unit="inputs", quiet=quiet) as bar:
        scan = run.loaded.scorer(run.options, lambda done, total: bar.reach(done, total=total)).scan(
            run.record.sequence
        )
    _write(target, _matrix(scan) if layout == "matrix" else _list(scan, run.options.method))
    if plot is not None:
        draw(scan, plot, report.printable(f"{run.record.id}: {run.options.method}, {run.loaded.pinned_name}"))
    return sum(1 for _ in scan)


def _score_table(run: _Run, text: str, table: "Table | None", target: Path | None, quiet: bool) -> list["Score"]:
    """The variants of a table, or the one that was given."""
    variants = _variants(text, table, run.record.sequence)
    with report.progress("scoring", unit="inputs", quiet=quiet) as bar:
        scorer = run.loaded.scorer(run.options, lambda done, total: bar.reach(done, total=total))
        try:
            scores = list(scorer.score(run.record.sequence, variants))
        except UserError as error:
            raise _of_table(error, table) from None
    _write(target, _table_rows(scores, table, run.options.method))
    return scores


def _effects(mutations: str | None, table: "Table | None", column: str) -> "NDArray[np.float64]":
    from openankh.tasks.effect_agreement import measured_effects

    if table is None:
        raise UserError(f"--measured: {mutations} is one variant; name a table with --mutations")
    return measured_effects(table, column)


def _agreement(scores: "Sequence[Score]", effects: "NDArray[np.float64]", quiet: bool) -> "EffectAgreement":
    """How well scores agree with what was measured; told in one line."""
    import numpy as np

    from openankh.tasks.effect_agreement import effect_agreement

    found = effect_agreement(np.array([each.raw for each in scores]), effects)
    rho, area = (f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (found.spearman, found.area))
    report.note(f"{found.num:,} measured: Spearman's correlation {rho}, area under the ROC curve {area}", quiet=quiet)
    return found


def _check_choices(
    mutations: str | None, all_singles: bool, plot: str | None, layout: str, output: str | None, json: bool
) -> None:
    if mutations is not None and all_singles:
        raise UserError("--mutations and --all-singles: give one of them")
    if mutations is not None and plot is not None:
        raise UserError("--plot: draws all single substitutions; leave --mutations out")
    if mutations is not None and layout != "matrix":
        raise UserError("--layout: is for all single substitutions; a table of variants keeps its own rows")
    if json and output is None:
        raise UserError("--json: sums up the run; name a table with -o")


def _check_output(name: str, overwrite: bool) -> Path:
    path = Path(name)
    if path.suffix.lower() in (".gz", ".xz", ".bz2", ".zst"):
        raise UserError(f"{name}: is written plain; leave out {path.suffix}, and compress it afterwards")
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


def _require_source(source: str) -> None:
    is_sequence = source.isascii() and source.isalpha()
    if source != "-" and not is_sequence and not Path(source[:255]).exists():
        raise UserError(f"{source[:60]}: no such file, and no sequence of residues; give a FASTA file or letters alone")


def _wild_type(source: str, vocab: "Vocab") -> "Record":
    """The one protein of a file, or the sequence that was given."""
    from openankh.fasta import FastaReader, ReadOptions, Record

    if source != "-" and not Path(source[:255]).exists():
        return Record("sequence", "", source.upper(), 1)
    records = list(FastaReader(source, ReadOptions(vocab.letters)))
    if len(records) != 1:
        raise UserError(f"{source}: has {len(records)} proteins; give the one whose variants are to be scored")
    return records[0]


def _table(mutations: str | None) -> "Table | None":
    """The table of that name; None for what is a variant itself."""
    from openankh.tasks.table import read_table

    if mutations is None:
        return None
    if not Path(mutations[:255]).exists() and any(letter.isdigit() for letter in mutations) and "." not in mutations:
        return None
    table = read_table(mutations)
    if not _column(table, _NAMES) and not _column(table, _SEQUENCES):
        raise UserError(
            f"{table.name}: no column mutant or mutated_sequence; it has "
            f"{', '.join(map(report.printable, table.columns))}"
        )
    if not len(table):
        raise UserError(f"{table.name}: has no rows; give a variant a row under its header")
    taken = next((name for name in _OURS if name in table), None)
    if taken is not None:
        raise UserError(f"{table.name}: has a column {taken!r} already, which the result brings; rename it")
    return table


def _column(table: "Table", names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table), None)


def _variants(text: str, table: "Table | None", wild_type: str) -> list["Variant"]:
    """The variants in the table's order."""
    from openankh.scoring.variant import parse_variant, variant_of_sequence

    if table is None:
        return [parse_variant(text, wild_type)]
    names = _column(table, _NAMES)
    cells = table.column(names or _column(table, _SEQUENCES) or "")
    read = parse_variant if names else variant_of_sequence
    try:
        return [read(cell, wild_type, line) for cell, line in zip(cells, table.lines, strict=True)]
    except UserError as error:
        raise _of_table(error, table) from None


def _of_table(error: UserError, table: "Table | None") -> UserError:
    """The same, with the table's name before its row."""
    return UserError(f"{table.name}, {error}") if table is not None and str(error).startswith("row ") else error


def _table_rows(scores: Iterable["Score"], table: "Table | None", method: str) -> Iterator[list[str]]:
    """The table as it was, the scores behind its columns."""
    columns = {} if table is None else table.columns
    yield [*(columns or ["mutant"]), *_OURS]
    for number, scored in enumerate(scores):
        before = [cells[number] for cells in columns.values()] if columns else [scored.variant.name]
        yield [*before, _number(scored.raw), _number(scored.calibrated), method]


def _matrix(scan: "Scan") -> Iterator[list[str]]:
    """A row a position: 20 raw scores, then 20 calibrated ones; 0 is the wild type."""
    from openankh.scoring.scan import COLUMNS

    yield ["position", "wild_type", *COLUMNS, *(f"calibrated_{letter}" for letter in COLUMNS)]
    rows = zip(scan.wild_type, scan.raw_L20.tolist(), scan.calibrated_L20.tolist(), strict=True)
    for position, (letter, raw, calibrated) in enumerate(rows, start=1):
        yield [str(position), letter, *map(_number, raw), *map(_number, calibrated)]


def _list(scan: "Scan", method: str) -> Iterator[list[str]]:
    yield ["mutant", *_OURS]
    for mutation, raw, calibrated in scan:
        yield [str(mutation), _number(raw), _number(calibrated), method]


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}"  # no minus before a zero


def _write(path: Path | None, rows: Iterable[list[str]]) -> None:
    from openankh.files import atomic_file

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if path is None:
        sys.stdout.write(text.getvalue())
        return
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def _report(
    run: _Run,
    num: int,
    output: str | None,
    plot: str | None,
    agreement: "EffectAgreement | None",
    json: bool,
    quiet: bool,
) -> None:
    seconds = time.perf_counter() - run.start
    where = output or "standard output"
    report.note(
        f"{where}: {num:,} variants of {run.record.id} by {run.options.method}, in {seconds:.1f} s", quiet=quiet
    )
    if json:
        facts: dict[str, Any] = {
            "output": output,
            "plot": plot,
            "wild_type": run.record.id,
            "length": len(run.record.sequence),
            "variants": num,
            "method": run.options.method,
            "window": run.options.window,
            "background": run.options.background,
            "model": run.loaded.pinned_name,
            "device": str(run.loaded.device),
            "seconds": round(seconds, 3),
        }
        if agreement is not None:
            facts["agreement"] = agreement
        report.result(facts, as_json=True)
