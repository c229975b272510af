"""`openankh embed`: proteins of a FASTA file as vectors of numbers."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report, workers
from openankh.cli.options import DEFAULT_MODEL, Device, Dtype, Json, Model, Offline, Quiet, Source, TrustPickle

if TYPE_CHECKING:
    from openankh.embedding.embedder import Embedder
    from openankh.embedding.options import EmbedOptions
    from openankh.embedding.run import EmbedSummary, ModelIdentity
    from openankh.embedding.survey import Survey
    from openankh.fasta import FastaReader, ReadCounts, Record
    from openankh.loaded import DtypeChoice
    from openankh.store import Target

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
    Literal["mean", "max", "residues"],
    Parameter(name="--pool", group=_WHAT, help="mean or max over the residues, or residues: one row each."),
]
Layer = Annotated[
    int, Parameter(group=_WHAT, help="-1: the encoder's output; 0 its input, n the output of its layer n.")
]
PrefixChoice = Annotated[
    Literal["auto", "nlu", "s2s", "none"],
    Parameter(name="--prefix", group=_WHAT, help="What stands in front: auto is nlu where the model has it."),
]
MaxTokens = Annotated[
    int | None, Parameter(group=_WHAT, help="Residues and marks computed at once; halved when memory runs out.")
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
    layer: Layer = -1,
    prefix: PrefixChoice = "auto",
    max_tokens: MaxTokens = None,
    unknown: Unknown = "error",
    case: Case = "upper",
    devices: workers.Devices = None,
    ray: workers.Ray = None,
    ray_workers: workers.RayWorkers = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Proteins of a FASTA file as vectors of numbers.

    Exactly one row a residue (--pool residues), or one a protein; in the order of the file, under their ids.
    """
    # Read when torch is imported. Its threads else burn their cores while they wait for each other, which on a machine
    # that others use as well was measured to cost a factor of a hundred.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from openankh.embedding.options import EmbedOptions
    from openankh.fasta import FastaReader, ReadOptions
    from openankh.model_names import resolve
    from openankh.store import Target
    from openankh.tokenizer_files import read_vocab

    options = EmbedOptions(pool, layer, prefix=prefix, max_tokens=max_tokens)
    workers.check_options(device, devices, ray, ray_workers)
    target = workers.choose_destination(output, overwrite)
    with workers.locked(target):
        folder = resolve(model, part="encoder", trust_pickle=trust_pickle, offline=offline)
        vocab = read_vocab(folder)
        reader = FastaReader(source, ReadOptions(vocab.letters, unknown, case))
        survey = _survey(reader, source, quiet)
        chosen = workers.choose_workers(device, devices, ray, ray_workers)
        if chosen.is_one and isinstance(target, Target):
            embedder, identity = _load(model, folder, options, chosen.devices[0], dtype, trust_pickle, offline)
            summary, where = _run(reader, target, embedder, identity, survey, quiet), str(embedder.device)
        else:
            from openankh.fleet.job import Job
            from openankh.fleet.run import FleetRun

            job = Job(model, options, dtype, trust_pickle, offline)
            summary = workers.embed_by(chosen, job, FleetRun(reader, target, survey, overwrite), quiet)
            where = chosen.shown
    _report(output, target.format if isinstance(target, Target) else "store", where, summary, json, quiet)


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


def _load(
    name: str,
    folder: Path,
    options: "EmbedOptions",
    device: str,
    dtype: "DtypeChoice",
    trust_pickle: bool,
    offline: bool,
) -> tuple["Embedder", "ModelIdentity"]:
    """The model's encoder, once it is known that the options suit it."""
    from openankh.checkpoint import read_config
    from openankh.embedding.embedder import Embedder
    from openankh.embedding.run import ModelIdentity
    from openankh.inference import for_inference
    from openankh.loaded import load

    options.layer_of(read_config(folder).num_encoder_layers)
    loaded = load(name, device, dtype, part="encoder", trust_pickle=trust_pickle, offline=offline)
    encoder = for_inference(loaded.model, release=True)
    embedder = Embedder(loaded.model, loaded.vocab, replace(options, dtype=loaded.dtype), encoder)
    return embedder, ModelIdentity(loaded.pinned_name, loaded.sha256)


def _run(
    reader: "FastaReader",
    target: "Target",
    embedder: "Embedder",
    identity: "ModelIdentity",
    survey: "Survey | None",
    quiet: bool,
) -> "EmbedSummary":
    from openankh.embedding.run import embed_file
    from openankh.store import num_unfinished

    clock = time.perf_counter()
    kept: int | None = None

    with report.progress("embedding", survey.num_residues if survey else None, unit="residues", quiet=quiet) as bar:

        def show(num_records: int, num_residues: int) -> None:
            nonlocal kept
            kept = num_residues if kept is None else kept
            rate = (num_residues - kept) / (time.perf_counter() - clock)
            bar.reach(num_residues, note=f"{num_records:,} proteins, {rate:,.0f} residues/s")

        try:
            return embed_file(reader, target, embedder, identity, survey, show)
        except BaseException:
            if kept is not None and (num_safe := num_unfinished(target)):
                report.note(f"{num_safe:,} proteins are safe; the same command goes on after them", quiet=quiet)
            raise


def _report(output: str, form: str, device: str, summary: "EmbedSummary", json: bool, quiet: bool) -> None:
    counts, provenance = summary.counts, summary.provenance
    rate = round(summary.residues_embedded / max(summary.seconds, 1e-9))
    for text in _changes(counts):
        report.note(text, quiet=quiet)
    rows = "one row a residue" if provenance.is_per_residue else f"the {provenance.pool} of each protein"
    report.note(
        f"{output}: {counts.records:,} proteins, {counts.residues:,} residues, {rows} ({provenance.width} numbers), "
        f"in {summary.seconds:.1f} s ({rate:,} residues/s)",
        quiet=quiet,
    )
    if json:
        facts = {"output": output, "format": form, "device": device, **asdict(counts), **provenance.to_json()}
        timing = {"seconds": round(summary.seconds, 3), "residues_per_second": rate}
        report.result({**facts, "records_kept": summary.records_kept, **timing}, as_json=True)


def _changes(counts: "ReadCounts") -> Iterator[str]:
    """What was changed in the sequences, where anything was."""
    if counts.upper_cased:
        yield f"{counts.upper_cased:,} lower-case residues read as capitals (--case error refuses them)"
    if counts.stops_dropped:
        yield f"{counts.stops_dropped:,} final * dropped"
    if counts.unknown_replaced:
        yield f"{counts.unknown_replaced:,} unknown letters read as X"
