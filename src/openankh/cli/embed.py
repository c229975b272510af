"""`openankh embed`: proteins of a FASTA file as vectors of numbers."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report, workers
from openankh.cli.embedding_progress import OnBegin, OnProgress, ToldRun
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Precision, Quiet, Source, TrustPickle

if TYPE_CHECKING:
    from openankh.embedding.embedder import Embedder
    from openankh.embedding.options import EmbedOptions
    from openankh.embedding.run import EmbedSummary
    from openankh.embedding.survey import Survey
    from openankh.fasta import FastaReader, ReadCounts, Record
    from openankh.loaded import LoadedModel
    from openankh.store import Pool, Target

_WHAT = Group("What is made", sort_key=1)
_HOW = Group("How sequences are read", sort_key=2)

Output = Annotated[
    str,
    Parameter(
        name=("--output", "-o"), help=".h5, .parquet or .npz file, or a folder: the store that a killed run continues."
    ),
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT, once the new one is whole.")]
PoolChoice = Annotated[
    Literal["mean", "max", "residues", "none"],
    Parameter(name="--pool", group=_WHAT, help="mean or max over the residues, or residues (also none): one row each."),
]
Layer = Annotated[
    tuple[str, ...],
    Parameter(
        group=_WHAT,
        negative=(),
        allow_leading_hyphen=True,
        consume_multiple=False,
        help="-1: the output; 0 the input, n the output of layer n; several (12,24 or again --layer) or all: one each.",
    ),
]
StatesChoice = Annotated[
    Literal["encoder", "decoder"],
    Parameter(name="--states", group=_WHAT, help="Of the encoder, or of the decoder as it reads the protein itself."),
]
PrefixChoice = Annotated[
    Literal["auto", "nlu", "s2s", "none"],
    Parameter(name="--prefix", group=_WHAT, help="What stands in front: auto is nlu where the model has it."),
]
OutputDtype = Annotated[
    Literal["auto", "fp32", "fp16", "bf16"],
    Parameter(name="--dtype", group=_WHAT, help="The numbers that are written; auto is the type computed in."),
]
MaxTokens = Annotated[
    int | None,
    Parameter(group=_WHAT, help="Residues and marks computed at once; else chosen; halved when memory runs out."),
]
Unknown = Annotated[
    Literal["error", "x"], Parameter(group=_HOW, help="A letter that the vocabulary lacks: refuse it, or read it as X.")
]
Case = Annotated[Literal["upper", "error"], Parameter(group=_HOW, help="Lower case: read as capitals, or refuse it.")]


def embed(
    source: Source,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    model: Model = DEFAULT_MODEL,
    pool: PoolChoice = "mean",
    layer: Layer = ("-1",),
    states: StatesChoice = "encoder",
    prefix: PrefixChoice = "auto",
    dtype: OutputDtype = "auto",
    max_tokens: MaxTokens = None,
    unknown: Unknown = "error",
    case: Case = "upper",
    devices: workers.Devices = None,
    ray: workers.Ray = None,
    ray_workers: workers.RayWorkers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Proteins of a FASTA file as vectors of numbers.

    Exactly one row a residue (--pool residues), or one a protein; in the order of the file, under their ids. A folder
    (-o NAME/) that was not finished is gone on with by the same command.
    """
    before_torch.settle()

    from openankh.embedding.options import EmbedOptions, parse_layers
    from openankh.fasta import FastaReader, ReadOptions
    from openankh.model_names import resolve
    from openankh.store import Target
    from openankh.tokenizer_files import read_vocab

    results = None if dtype == "auto" else dtype
    rows: Pool = "residues" if pool == "none" else pool
    options = EmbedOptions(rows, parse_layers(layer), results, prefix, max_tokens, precision, states)
    workers.check_options(device, devices, ray, ray_workers)
    target = workers.choose_destination(output, overwrite)
    with workers.locked(target):
        part = "encoder" if states == "encoder" else "all"
        folder = resolve(model, part=part, trust_pickle=trust_pickle, offline=offline)
        vocab = read_vocab(folder)
        _require_layers(options, folder)
        reader = FastaReader(source, ReadOptions(vocab.letters, unknown, case))
        survey = _survey(reader, source, quiet)
        chosen = workers.choose_workers(device, devices, ray, ray_workers)
        told = ToldRun(reader.name, output, survey, quiet)
        if chosen.is_one and isinstance(target, Target):
            from openankh.loaded import load_embedder

            embedder, loaded = load_embedder(
                model, options, chosen.devices[0], trust_pickle=trust_pickle, offline=offline
            )
            where, summary = str(embedder.device), told.embed(_ThisProcess(reader, target, embedder, loaded, survey))
        else:
            from openankh.fleet.job import Job
            from openankh.fleet.run import FleetRun

            job, run = Job(model, options, trust_pickle, offline), FleetRun(reader, target, survey, overwrite)
            where, summary = chosen.shown, told.embed(workers.ManyWorkers(chosen, job, run))
    form = target.format if isinstance(target, Target) else "store"
    _tell(output, summary, quiet)
    if json:
        report.result(
            {"output": output, "format": form, "device": where, **told.facts, **_facts(summary)}, as_json=True
        )


def _survey(reader: "FastaReader", source: str, quiet: bool) -> "Survey | None":
    """Read a file once before anything else, so that its errors come at once; a stream can be read only once."""
    from openankh.embedding.survey import survey

    if source == "-" or Path(source).is_fifo():
        return None
    total = os.path.getsize(source) if os.path.isfile(source) else None
    with report.progress("checking", total, unit="bytes", quiet=quiet) as bar:
        return survey(_watched(reader, bar))


def _watched(reader: "FastaReader", bar: report.Bar) -> Iterator["Record"]:
    for number, record in enumerate(reader):
        if number % 1000 == 0:
            bar.reach(reader.bytes_read)
        yield record


def _require_layers(options: "EmbedOptions", folder: Path) -> None:
    """Refuse layers that the model lacks before its weights are read."""
    from openankh.checkpoint import read_config

    options.layers_of(read_config(folder))


@dataclass(frozen=True)
class _ThisProcess:
    """Embeds by itself."""

    reader: "FastaReader"
    target: "Target"
    embedder: "Embedder"
    loaded: "LoadedModel"
    survey: "Survey | None"

    def embed(self, on_progress: OnProgress, on_begin: OnBegin) -> "EmbedSummary":
        """Embed the whole input."""
        from openankh.embedding.run import ModelIdentity, embed_file

        identity = ModelIdentity(self.loaded.pinned_name, self.loaded.sha256)
        return embed_file(self.reader, self.target, self.embedder, identity, self.survey, on_progress, on_begin)

    def what_is_safe(self) -> str:
        """What is there of a run that was stopped, and how to go on."""
        from openankh.store import num_unfinished

        if num_safe := num_unfinished(self.target):
            return f"{num_safe:,} proteins are safe; the same command goes on after them"
        if self.target.format == "store":
            return "no part of the output was whole yet; the same command begins again"
        return "nothing was written; an output that is a folder (-o NAME/) goes on where it stopped"


def _tell(output: str, summary: "EmbedSummary", quiet: bool) -> None:
    """What was done, and what was changed on the way."""
    counts, provenance = summary.counts, summary.provenance
    for text in (*_changes(counts), *_incidents(summary)):
        report.note(text, quiet=quiet)
    rows = "one row a residue" if provenance.is_per_residue else f"the {provenance.pool} of each protein"
    layers = f" of {provenance.num_layers} layers" if provenance.num_layers > 1 else ""
    report.note(
        f"{output}: {counts.records:,} proteins, {counts.residues:,} residues, {rows}{layers} "
        f"({provenance.width} numbers), in {summary.seconds:.1f} s ({summary.residues_per_second:,} residues/s)",
        quiet=quiet,
    )


def _incidents(summary: "EmbedSummary") -> Iterator[str]:
    """What went otherwise than a user would think, where anything did."""
    if summary.records_reused:
        yield f"{summary.records_reused:,} proteins had the sequence of another and were not computed again"
    if summary.records_overflowed:
        yield f"{summary.records_overflowed:,} proteins overflowed fp16 and were computed again in fp32"
    if summary.num_halvings:
        yield f"memory ran out {summary.num_halvings:,} times; batches went down to {summary.max_tokens:,} tokens"


def _facts(summary: "EmbedSummary") -> dict[str, Any]:
    """The same for programs."""
    return {
        **asdict(summary.counts),
        **summary.provenance.to_json(),
        "records_kept": summary.records_kept,
        "records_reused": summary.records_reused,
        "records_overflowed": summary.records_overflowed,
        "memory_ran_out": summary.num_halvings,
        "max_tokens": summary.max_tokens,
        "seconds": round(summary.seconds, 3),
        "residues_per_second": summary.residues_per_second,
    }


def _changes(counts: "ReadCounts") -> Iterator[str]:
    """What was changed in the sequences, where anything was."""
    if counts.upper_cased:
        yield f"{counts.upper_cased:,} lower-case residues read as capitals (--case error refuses them)"
    if counts.stops_dropped:
        yield f"{counts.stops_dropped:,} final * dropped"
    if counts.unknown_replaced:
        yield f"{counts.unknown_replaced:,} unknown letters read as X"
