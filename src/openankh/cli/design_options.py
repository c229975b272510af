"""The options that the verbs of `openankh design` spell alike, in groups that each turn into what they describe."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Model, Offline, TrustPickle, read_source
from openankh.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openankh.design.filters import Filter, Filtering
    from openankh.design.proposal import Proposal
    from openankh.design.screening import Screen, Screening
    from openankh.fasta import Record
    from openankh.loaded import LoadedModel
    from openankh.vocab import Vocab

HOW = Group("How residues are chosen", sort_key=3)
KEPT = Group("What is kept", sort_key=4)
WRITTEN = Group("What is written", sort_key=5)

Parent = Annotated[
    str,
    Parameter(
        name="PROTEIN",
        converter=read_source,
        help="One sequence, or a FASTA file with it alone (- is standard input).",
    ),
]
Seed = Annotated[int | None, Parameter(group=HOW, help="Of what is drawn; the same one gives the same again.")]
TopK = Annotated[int | None, Parameter(group=HOW, help="Choose among the so many likeliest; 0 is all.")]
TopP = Annotated[
    float | None, Parameter(group=HOW, help="Choose among the likeliest that reach this probability together.")
]
Beams = Annotated[int | None, Parameter(group=HOW, help="Drafts followed at once by beam and beam-sample.")]
MethodChoice = Annotated[
    Literal["sample", "beam", "beam-sample"] | None,
    Parameter(name="--method", group=HOW, help="Drawn; the best of several drafts; the best of drawn drafts."),
]
Without = Annotated[str, Parameter(group=KEPT, help="Leave out proposals that have any of these residues, as CX.")]
MinIdentity = Annotated[float, Parameter(group=KEPT, help="Least identity with the parent, from 0 to 1.")]
MaxIdentity = Annotated[float, Parameter(group=KEPT, help="Greatest identity with the parent, from 0 to 1.")]
ScreenFile = Annotated[
    str | None,
    Parameter(name="--screen", group=KEPT, help="FASTA of sequences of concern that results are compared with."),
]
ScreenAction = Annotated[
    Literal["report", "drop"],
    Parameter(group=KEPT, help="Hits are marked in their headers, or left out; either is told."),
]
ScreenThreshold = Annotated[
    float, Parameter(group=KEPT, help="Identity (of the shorter sequence) from which on something is a hit.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Parameter(name="--precision", group="Everywhere", help="Arithmetic of the model; auto is bf16 where it is fast."),
]
Output = Annotated[
    str | None,
    Parameter(
        name=("--output", "-o"),
        group=WRITTEN,
        help="A FASTA file; a CSV of that name beside it. Else FASTA is printed.",
    ),
]
Overwrite = Annotated[bool, Parameter(negative=(), group=WRITTEN, help="Replace what stands at OUT.")]


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it runs."""

    model: Model = DEFAULT_MODEL
    device: Device = "auto"
    precision: Precision = "auto"
    trust_pickle: TrustPickle = False
    offline: Offline = False

    def load(self, precision: Literal["auto", "fp32", "bf16"] | None = None) -> "LoadedModel":
        """The model that was asked for."""
        from openankh.loaded import load

        return load(
            self.model,
            self.device,
            precision=precision or self.precision,
            trust_pickle=self.trust_pickle,
            offline=self.offline,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class ScreenOptions:
    """Sequences of concern, and what becomes of hits."""

    screen: ScreenFile = None
    screen_action: ScreenAction = "report"
    screen_threshold: ScreenThreshold = 0.5

    def read(self) -> "Screen | None":
        """The screen that was asked for, if any was."""
        from openankh.design.screening import Screen

        if self.screen is None:
            return None
        return Screen.read(self.screen, self.screen_threshold, self.screen_action)


@Parameter(name="*")
@dataclass(frozen=True)
class LimitOptions:
    """Which proposals are kept."""

    without: Without = ""
    min_identity: MinIdentity = 0.0
    max_identity: MaxIdentity = 1.0

    def filter(self, *, unique: bool, needs_alignment: bool) -> "Filter":
        """The filter; UserError where identities cannot be had."""
        from openankh.design.alignment import require_alignment
        from openankh.design.filters import Filter

        limits = Filter(0, None, self.without.upper(), self.min_identity, self.max_identity, unique)
        if limits.judges_identity and needs_alignment:
            require_alignment("--min-identity, --max-identity")
        return limits


def quiet_threads() -> None:
    """Let waiting threads sleep, as `openankh embed` does; before torch is imported."""
    before_torch.settle()


def require_source(source: str) -> None:
    """Raise UserError for what is neither a file nor a sequence."""
    if source != "-" and not _is_sequence(source) and not Path(source[:255]).exists():
        raise UserError(f"{source[:60]}: no such file, and no sequence of residues; give a FASTA file or letters alone")


def read_parent(source: str, vocab: "Vocab") -> "Record":
    """The one protein of a file, or the sequence that was given."""
    from openankh.fasta import FastaReader, ReadOptions, Record

    if source != "-" and not Path(source[:255]).exists():
        sequence = source.upper()
        vocab.encode(sequence)
        return Record("protein", "", sequence, 1)
    records = list(FastaReader(source, ReadOptions(vocab.letters)))
    if len(records) != 1:
        raise UserError(f"{source}: has {len(records)} proteins; give the one that is to be designed from")
    return records[0]


def check_outputs(output: str | None, overwrite: bool) -> tuple[Path, Path] | None:
    """The FASTA file and the table beside it; None where results are printed."""
    from openankh.design.proposal_files import check_new_file

    if output is None:
        return None
    fasta = check_new_file(output, overwrite)
    if fasta.suffix.lower() == ".csv":
        raise UserError(f"{output}: names the FASTA file, beside which the table is written; end it in .fasta")
    return fasta, check_new_file(str(fasta.with_suffix(".csv")), overwrite)


def put_out(proposals: "Sequence[Proposal]", paths: tuple[Path, Path] | None, *, as_json: bool) -> None:
    """Into both files, or printed: FASTA, or a JSON list."""
    from openankh.design.proposal_files import facts_of, fasta_of, write_proposals

    if paths is not None:
        write_proposals(proposals, *paths)
    elif as_json:
        report.table([facts_of(each) for each in proposals], as_json=True)
    else:
        print("".join(map(fasta_of, proposals)), end="")


def tell_left_out(filtering: "Filtering", screening: "Screening", quiet: bool) -> None:
    """What was left out and why, and what the screen found."""
    if filtering.dropped:
        reasons = ", ".join(f"{num:,} {reason}" for reason, num in filtering.dropped.items())
        report.note(f"left out: {reasons}", quiet=quiet)
    if screening.screen is not None:
        report.note(screening.summary, quiet=quiet)


def _is_sequence(source: str) -> bool:
    return source.isascii() and source.isalpha()
