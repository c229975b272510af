"""The memory that a dry run tells of beside that which a run took, on this machine's processor.

python benchmarks/pretrain_memory.py > benchmarks/PRETRAIN_MEMORY.md
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from openankh.corpus import Corpus
from openankh.fasta import FastaReader, ReadOptions
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.dry_run import Plan, dry_run
from openankh.pretraining.recipes import recipe_named
from openankh.vocab import openankh_vocab

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("OPENANKH_SHARED", ROOT.parent / "shared"))
REAL, BUNDLED = SHARED / "data/pretrain/valid.fasta.xz", ROOT / "src/openankh/data/demo.fasta"
STEPS = ("total_steps=6", "checkpoint_every=2", "valid_every=100", "warmup_steps=1")
SHAPES = {
    "narrow, AdamW, bf16": (
        "model.d_model=256", "model.d_ff=768", "model.d_kv=32", "model.num_heads=8", "model.num_encoder_layers=4",
        "model.num_decoder_layers=2", "packing.tokens=8192", "packing.crop=512", "optimiser.name=adamw",
    ),
    "wide, Muon, bf16": (
        "model.d_model=768", "model.d_ff=2048", "model.d_kv=64", "model.num_heads=12", "model.num_encoder_layers=3",
        "model.num_decoder_layers=2", "packing.tokens=2048", "packing.crop=256",
    ),
    "deep, Adafactor, fp32, 2 batches a step": (
        "model.d_model=192", "model.d_ff=512", "model.d_kv=32", "model.num_heads=6", "model.num_encoder_layers=12",
        "model.num_decoder_layers=6", "packing.tokens=4096", "packing.crop=512", "optimiser.name=adafactor",
        "dtype=fp32", "accumulation=2",
    ),
}  # fmt: skip


def rows(corpus: Path, shapes: Sequence[str]) -> Iterator[str]:
    """A line a shape."""
    for name in shapes:
        changes = [*SHAPES[name], *STEPS]
        recipe = recipe_named("micro", changes)
        told = dry_run(recipe, Plan("cpu"), Corpus.open(corpus)).memory
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "tests/memory_runs.py"), str(corpus), f"{folder}/run", *changes]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = json.loads(done.stdout)["peak"]
        parts = (told.weights, told.gradients, told.optimiser, told.activations, told.checkpoint, told.peak, peak)
        cells = " | ".join(f"{part / 1e6:,.0f}" for part in parts)
        yield f"| {name} | {recipe.model.num_parameters:,} | {cells} | {told.peak / peak - 1:+.1%} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args(arguments)
    source = REAL if REAL.is_file() else BUNDLED
    print("# Memory of pre-training: what a dry run tells, and what a run takes\n")
    print(
        "`python benchmarks/pretrain_memory.py`: megabytes (10^6 bytes); the peak is that of resident memory over what"
    )
    print("the process had before, in a fresh process each, over six steps and three checkpoints.\n")
    print(
        "| shape | parameters | weights | gradients | optimiser | activations | checkpoint | told peak | measured | |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        letters = ReadOptions(letters=openankh_vocab().letters)
        fasta = Path(folder) / "proteins.fasta"
        records = [record for _, record in zip(range(3000), FastaReader(source, letters), strict=False)]
        fasta.write_text("".join(f">{record.id}\n{record.sequence}\n" for record in records))
        prepare([fasta], corpus, PrepareOptions())
        for row in rows(corpus, options.shapes):
            print(row, flush=True)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; load {load}; {source.name}."
    )


if __name__ == "__main__":
    main()
