"""The whole of `openankh embed` beside its bare encoder: all but the encoder must cost next to nothing.

    python benchmarks/bench_end_to_end.py [--proteins 5000] [--rounds 3] [-o benchmarks/END_TO_END.md]

Both ways in one process, in turn, one thread, by CPU time: (1) the encoder alone, over token batches made beforehand,
its results dropped; (2) from the FASTA file to a finished store: the first reading that checks it, reading, batches,
encoder, pooling, and the writing in its thread. Loading the model is in neither; start-up is that of whole processes.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from measuring import RealProteins, Timing, draw_proteins, interleaved

from openankh.attention import Documents
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.run import ModelIdentity, embed_file
from openankh.embedding.survey import survey
from openankh.embedding.tokens import packed_tokens
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.loaded import load_embedder
from openankh.store import parse_target

MODEL = "openankh-nano"

STARTED = """
import json, os, sys, time
from openankh import cli
from openankh.embedding import vectors
real = vectors.Vectors.of
def of(*arguments, **options):
    begun = time.time(), time.process_time()
    real(*arguments, **options)
    print(json.dumps([*begun, time.time(), time.process_time()]), flush=True)
    os._exit(0)
vectors.Vectors.of = of
cli.main(sys.argv[1:])
"""


@dataclass(frozen=True)
class StartUp:
    """Seconds from the call of a command: until its first batch begins, and until that is computed."""

    wall_begun: float
    cpu_begun: float
    wall_done: float
    cpu_done: float


@dataclass(frozen=True)
class Prepared:
    """One input made ready for both ways."""

    fasta: Path
    reader: FastaReader
    embedder: Embedder
    identity: ModelIdentity
    batches: tuple[tuple[torch.Tensor, Documents], ...]


def prepare(proteins: RealProteins, folder: Path) -> Prepared:
    """Write the FASTA file, load the model, make the token batches of the bare encoder."""
    fasta = folder / "proteins.fasta"
    fasta.write_text("".join(f">{record.id}\n{record.sequence}\n" for record in proteins.records))
    embedder, loaded = load_embedder(MODEL, EmbedOptions(), "cpu")
    reader = FastaReader(fasta, ReadOptions(loaded.vocab.letters))
    prefix_id = loaded.vocab.prefix_id(embedder.prefix)
    batches = []
    for records in consecutive(reader, embedder.max_tokens):
        tokens, _, offsets = packed_tokens(records, loaded.vocab, prefix_id)
        batches.append((torch.from_numpy(tokens), Documents(tuple(offsets.tolist()))))
    return Prepared(fasta, reader, embedder, ModelIdentity(MODEL, loaded.sha256), tuple(batches))


def consecutive(records: FastaReader, max_tokens: int) -> Iterator[list[Record]]:
    """Records in order, as many together as the budget holds."""
    batch: list[Record] = []
    num_tokens = 0
    for record in records:
        needed = len(record.sequence) + 2
        if batch and num_tokens + needed > max_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch.append(record)
        num_tokens += needed
    yield batch


@torch.inference_mode()
def run_bare(prepared: Prepared) -> None:
    """The encoder alone."""
    for tokens_T, documents in prepared.batches:
        prepared.embedder.encoder.encode(tokens_T, documents)


def run_whole(prepared: Prepared, folder: Path) -> None:
    """From the file to a store."""
    found = survey(prepared.reader)
    target = parse_target(f"{folder / 'store'}/", overwrite=True)
    embed_file(prepared.reader, target, prepared.embedder, prepared.identity, found)


def start_up(fasta: Path, folder: Path) -> StartUp:
    """A process of its own, from its call to the end of its first batch."""
    command = ["embed", str(fasta), "-o", f"{folder / 'never'}/", "--device", "cpu", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    called = time.time()
    arguments = [sys.executable, "-c", STARTED, *command]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment)
    wall_begun, cpu_begun, wall_done, cpu_done = json.loads(done.stdout.splitlines()[-1])
    return StartUp(wall_begun - called, cpu_begun, wall_done - called, cpu_done)


def report(proteins: RealProteins, timings: dict[str, Timing], starts: Sequence[StartUp], loads: Sequence[str]) -> str:
    """The result as Markdown."""
    bare, whole = timings["bare"], timings["whole"]
    pairs = zip(bare.rounds, whole.rounds, strict=True)
    ratios = ", ".join(f"{100 * one / other:.1f} %" for one, other in pairs)
    best = min(starts, key=lambda start: start.wall_begun)
    rows = [
        ("the encoder alone", bare),
        ("`openankh embed`, from the file to the store", whole),
    ]
    lines = [
        "# From a FASTA file to a store, beside the bare encoder",
        "",
        f"`python {shlex.join(sys.argv)}`",
        "",
        f"{len(proteins.records):,} {proteins.origin}, {proteins.num_residues:,} residues, the longest "
        f"{proteins.longest:,}; {MODEL}, mean pooling. One thread, CPU time of the process, {len(bare.rounds)} rounds "
        f"in turn after one that is not counted. {machine()}; load {loads[0]} before, {loads[1]} after.",
        "",
        "| | residues/s, median | best round | CPU seconds, median |",
        "|---|---|---|---|",
    ]
    for name, timing in rows:
        rate, fastest = proteins.num_residues / timing.median, proteins.num_residues / timing.best
        lines.append(f"| {name} | {rate:,.0f} | {fastest:,.0f} | {timing.median:.1f} |")
    lines += [
        "",
        f"The whole runs at {100 * bare.median / whole.median:.1f} % of the bare rate (medians; by rounds {ratios}).",
        "",
        "| start-up, a process of its own | wall | CPU |",
        "|---|---|---|",
        f"| until the first batch begins, best of {len(starts)} | {best.wall_begun:.2f} s | {best.cpu_begun:.2f} s |",
        f"| until it is computed, of the same process | {best.wall_done:.2f} s | {best.cpu_done:.2f} s |",
        "",
        f"All start-ups until the first batch begins (wall / CPU): "
        f"{', '.join(f'{start.wall_begun:.2f} / {start.cpu_begun:.2f} s' for start in starts)}.",
    ]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} cores of {model}; Python {platform.python_version()}, torch {torch.__version__}"


def load() -> str:
    """The load averages of the machine."""
    return " ".join(f"{average:.1f}" for average in os.getloadavg())


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description="The whole of `openankh embed` beside its bare encoder.")
    parser.add_argument("--proteins", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    before = load()
    proteins = draw_proteins(arguments.proteins)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare(proteins, folder)
        ways = {"bare": lambda: run_bare(prepared), "whole": lambda: run_whole(prepared, folder)}
        timings = interleaved(ways, arguments.rounds, num_threads=1)
        starts = [start_up(prepared.fasta, folder) for _ in range(arguments.starts)]
    text = report(proteins, timings, starts, (before, load()))
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
