"""`openankh complete`: proteins of which a beginning is kept and the rest is written by the model."""

import json as json_text
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.design_options import ScreenOptions
from openankh.cli.options import (
    DEFAULT_MODEL,
    Device,
    Json,
    Model,
    Offline,
    Quiet,
    TrustPickle,
    read_source,
)
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.design.proposal import Hit
    from openankh.design.screening import Screening
    from openankh.fasta import Record
    from openankh.generation.completion import Completion
    from openankh.generation.options import CompletionOptions
    from openankh.loaded import LoadedModel

_WHAT = Group("What is written", sort_key=1)
_HOW = Group("How residues are chosen", sort_key=2)
_RULES = Group("Which residues may stand where", sort_key=3)
_LINE = 60

FastaOrSequence = Annotated[
    str,
    Parameter(converter=read_source, help="A FASTA file, plain or compressed, - for standard input; or one sequence."),
]
Keep = Annotated[
    float | None,
    Parameter(group=_WHAT, help="A share such as 0.5, or from 1 on a number of residues, of each protein; else all."),
]
Length = Annotated[
    int | None,
    Parameter(group=_WHAT, help="Residues of the finished protein, exactly; with --keep alone as many as it had."),
]
MinLength = Annotated[
    int | None, Parameter(group=_WHAT, help="At least so many residues: the model decides the length.")
]
MaxLength = Annotated[
    int | None, Parameter(group=_WHAT, help="At most so many residues; where nothing else is said 1,000 are written.")
]
Num = Annotated[int, Parameter(name=("--num", "-n"), group=_WHAT, help="Completions of each protein.")]
TaskChoice = Annotated[
    Literal["auto", "s2s", "plain", "sentinels"],
    Parameter(
        name="--task",
        group=_WHAT,
        help="auto: [S2S] where the model has it, else sentinels (--length, --keep); plain: of a model adapted to it.",
    ),
]
MethodChoice = Annotated[
    Literal["greedy", "sample", "beam", "beam-sample"],
    Parameter(name="--method", group=_HOW, help="The likeliest residue each time; drawn; the best of several drafts."),
]
Temperature = Annotated[
    float, Parameter(name=("--temperature", "-t"), group=_HOW, help="Above 1 more varied, below 1 more likely.")
]
TopK = Annotated[int, Parameter(group=_HOW, help="Choose among the so many likeliest; 0 is all.")]
TopP = Annotated[float, Parameter(group=_HOW, help="Choose among the likeliest that reach this probability together.")]
Beams = Annotated[int, Parameter(group=_HOW, help="Drafts followed at once by beam and beam-sample.")]
Seed = Annotated[int, Parameter(group=_HOW, help="Of what is drawn; the same one gives each protein the same again.")]
Letters = Annotated[str | None, Parameter(group=_RULES, help="What may be written; else the 20 standard amino acids.")]
Forbid = Annotated[str, Parameter(group=_RULES, help="Residues that are not written, such as C.")]
Require = Annotated[
    str, Parameter(group=_RULES, help="Residues that are written somewhere, as often as they stand here: HHC.")
]
Fix = Annotated[
    str, Parameter(group=_RULES, help="Places of the protein, from 1, and what stands there: 120=H,121=ILV.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Parameter(name="--precision", group="Everywhere", help="Arithmetic of the model; auto is bf16 where it is fast."),
]
MaxRows = Annotated[int | None, Parameter(group=_HOW, help="Drafts written at a time; changes speed and memory alone.")]
Unknown = Annotated[
    Literal["error", "x"],
    Parameter(group=_RULES, help="A letter that the vocabulary lacks: refuse it, or read it as X."),
]
Output = Annotated[
    str | None, Parameter(name=("--output", "-o"), help="A FASTA file; without it, FASTA on standard output.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT, once the new one is whole.")]


def complete(
    source: FastaOrSequence,
    /,
    *,
    keep: Keep = None,
    length: Length = None,
    min_length: MinLength = None,
    max_length: MaxLength = None,
    num: Num = 1,
    task: TaskChoice = "auto",
    method: MethodChoice = "greedy",
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    beams: Beams = 10,
    seed: Seed = 0,
    max_rows: MaxRows = None,
    letters: Letters = None,
    forbid: Forbid = "",
    require: Require = "",
    fix: Fix = "",
    unknown: Unknown = "error",
    screen: ScreenOptions = ScreenOptions(),  # noqa: B008  (immutable)
    output: Output = None,
    overwrite: Overwrite = False,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Proteins of which a beginning is kept and the rest is written by the model.

    With --keep 0.5 the second half of each is written anew; with --length 300 each is continued to 300 residues; with
    neither, until the model ends it. FASTA in, FASTA out, in the same order; how each was made stands in its header.
    """
    before_torch.settle()

    from openankh.design.screening import Screening
    from openankh.generation.method import Method
    from openankh.generation.options import CompletionOptions
    from openankh.generation.residue_rules import ResidueRules
    from openankh.generation.stretch import Stretch

    options = CompletionOptions(
        Stretch(keep, length, min_length, max_length),
        Method(method, temperature, top_k, top_p, beams),
        ResidueRules.of(letters, forbid, require, fix),
        num,
        seed,
        task,
        max_rows=max_rows,
    )
    screening = Screening(screen.read())
    path = None if output is None else _check_output(output, overwrite)
    _require_source(source)

    from openankh.loaded import load

    loaded = load(model, device, precision=precision, trust_pickle=trust_pickle, offline=offline)
    run = _Run(loaded, options, screening)
    with report.progress("writing", unit="proteins", quiet=quiet) as bar:
        completions = run.watched(_records(source, loaded, unknown), bar)
        if path is not None:
            _write(path, completions, run)
        elif json:
            _print_json(completions, run)
        else:
            for completion, hit in completions:
                print(run.fasta(completion, hit), end="")
    _report(run, output, json, quiet)


@dataclass
class _Run:
    """A run and what has gone by."""

    loaded: "LoadedModel"
    options: "CompletionOptions"
    screening: "Screening"
    num_proteins: int = 0
    num_completions: int = 0
    num_residues: int = 0
    num_ended: int = 0
    sum_log_probs: float = 0.0
    task: str = ""
    start: float = field(default_factory=time.perf_counter)

    def watched(self, records: Iterable["Record"], bar: report.Bar) -> Iterator[tuple["Completion", "Hit | None"]]:
        """The completions that are kept, each with what the screen found, taken into account as it goes by."""
        completer = self.loaded.completer(self.options)
        self.task = completer.task
        for completion in completer.complete(records):
            self.num_proteins += completion.number == 1
            self.num_completions += 1
            self.num_residues += len(completion.log_probs)
            self.num_ended += completion.ended
            self.sum_log_probs += float(completion.log_probs.sum())
            bar.reach(self.num_proteins)
            hit = self.screening.seen(completion.sequence)
            if self.screening.keeps(hit):
                yield completion, hit

    def fasta(self, completion: "Completion", hit: "Hit | None") -> str:
        """A completion as a FASTA record."""
        name = completion.record.id if self.options.num == 1 else f"{completion.record.id}/{completion.number}"
        facts = {
            "kept": str(completion.kept),
            "length": str(len(completion.sequence)),
            **({"ended": "yes" if completion.ended else "no"} if self.options.stretch.is_free else {}),
            "mean_log_prob": f"{completion.mean_log_prob:.4f}",
            "method": str(self.options.method),
            **({"seed": str(self.options.seed)} if self.options.method.is_drawn else {}),
            "task": self.task,
            **({"screen_hit": hit.id, "screen_identity": f"{hit.identity:.3f}"} if hit else {}),
            "model": "_".join(self.loaded.pinned_name.split()),
        }
        header = " ".join([name, *(f"{key}={value}" for key, value in facts.items())])
        lines = [completion.sequence[at : at + _LINE] for at in range(0, len(completion.sequence), _LINE)]
        return "\n".join([f">{header}", *lines, ""])

    def facts_of(self, completion: "Completion", hit: "Hit | None") -> dict[str, Any]:
        """A completion for programs."""
        return {
            "id": completion.record.id,
            "number": completion.number,
            "sequence": completion.sequence,
            "kept": completion.kept,
            "length": len(completion.sequence),
            "ended": completion.ended,
            "mean_log_prob": completion.mean_log_prob,
            "perplexity": completion.perplexity,
            "score": completion.score,
            **(
                {"screen_hit": hit and hit.id, "screen_identity": hit and hit.identity} if self.screening.screen else {}
            ),
            **self.how,
        }

    @property
    def how(self) -> dict[str, Any]:
        """What made the completions."""
        return {
            "method": str(self.options.method),
            "seed": self.options.seed if self.options.method.is_drawn else None,
            "task": self.task,
            "model": self.loaded.pinned_name,
        }


def _require_source(source: str) -> None:
    if source != "-" and not _is_sequence(source) and not Path(source).exists():
        raise UserError(f"{source[:60]}: no such file, and no sequence of residues; give a FASTA file or letters alone")


def _is_sequence(source: str) -> bool:
    return source.isascii() and source.isalpha() and not Path(source[:255]).exists()


def _records(source: str, loaded: "LoadedModel", unknown: Literal["error", "x"]) -> Iterable["Record"]:
    """The records of a file, or the one sequence that was given."""
    from openankh.fasta import FastaReader, ReadOptions, Record

    if source == "-" or not _is_sequence(source):
        return FastaReader(source, ReadOptions(loaded.vocab.letters, unknown))
    sequence = source.upper()
    if unknown == "x":
        sequence = "".join(letter if letter in loaded.vocab.letters else "X" for letter in sequence)
    return [Record("sequence", "", sequence, 1)]


def _check_output(name: str, overwrite: bool) -> Path:
    path = Path(name)
    if path.suffix.lower() in (".gz", ".xz", ".bz2", ".zst"):
        raise UserError(f"{name}: plain FASTA is written; leave out {path.suffix}, and compress it afterwards")
    if path.exists() and not overwrite:
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


def _write(path: Path, completions: Iterable[tuple["Completion", "Hit | None"]], run: _Run) -> None:
    from openankh.files import atomic_file

    with atomic_file(path) as file:
        for completion, hit in completions:
            file.write(run.fasta(completion, hit).encode())


def _print_json(completions: Iterable[tuple["Completion", "Hit | None"]], run: _Run) -> None:
    """A list, each completion printed as soon as it is there."""
    with _list_printed() as put:
        for completion, hit in completions:
            put(json_text.dumps(run.facts_of(completion, hit), ensure_ascii=False))


@contextmanager
def _list_printed() -> Iterator[Any]:
    between = "[\n"

    def put(text: str) -> None:
        nonlocal between
        sys.stdout.write(f"{between}  {text}")
        sys.stdout.flush()
        between = ",\n"

    yield put
    print("[]" if between == "[\n" else "\n]")


def _report(run: _Run, output: str | None, json: bool, quiet: bool) -> None:
    seconds = time.perf_counter() - run.start
    rate = round(run.num_residues / seconds) if seconds else 0
    if run.options.stretch.is_free and run.num_ended < run.num_completions:
        cut = run.num_completions - run.num_ended
        report.note(f"{cut:,} of {run.num_completions:,} completions were not ended by the model but cut", quiet=quiet)
    if run.screening.screen is not None:
        report.note(run.screening.summary, quiet=quiet)
    where = output or "standard output"
    report.note(
        f"{where}: {run.num_completions:,} completions of {run.num_proteins:,} proteins, {run.num_residues:,} residues "
        f"written, in {seconds:.1f} s ({rate:,} residues/s)",
        quiet=quiet,
    )
    if json and output is not None:
        mean = run.sum_log_probs / run.num_residues if run.num_residues else None
        facts = {
            "output": output,
            "proteins": run.num_proteins,
            "completions": run.num_completions,
            "residues_written": run.num_residues,
            "ended": run.num_ended,
            "mean_log_prob": mean,
            **({"screen_hits": run.screening.num_hits} if run.screening.screen else {}),
            **run.how,
            "device": str(run.loaded.device),
            "seconds": round(seconds, 3),
            "residues_per_second": rate,
        }
        report.result(facts, as_json=True)
