"""Memory and time of one very long protein in Ankh base's whole encoder, by the command a user would give.

Random bf16 weights in a folder of their own; `openankh embed --pool residues` in a new process, whose peak of resident
memory the system tells, Python, torch and the writing of the result included.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import FOLDER, machine

from openankh.files import write_file_atomically
from openankh.store import open_store

WIDTH = 768
LIMIT_GIB = {16_384: 4.0}
GIB = 1 << 30


@dataclass(frozen=True)
class Run:
    """What one process took."""

    peak_bytes: int
    cpu_seconds: float
    wall_seconds: float


def write_model(folder: Path, num_layers: int) -> None:
    """The encoder of Ankh base with T5's own random weights, in bf16."""
    import torch
    from bench_embed import our_model

    from openankh.checkpoint import Provenance, save_model
    from openankh.vocab import ankh_vocab

    save_model(our_model(num_layers, torch.bfloat16), ankh_vocab(), folder, Provenance("random", "none"))


def write_protein(path: Path, length: int) -> None:
    """A FASTA file of one random protein."""
    residues = random.Random(length).choices("ALGVSREDTIPKFQNYMHWC", k=length)
    path.write_text(f">long\n{''.join(residues)}\n")


def run(command: Sequence[str], num_threads: int) -> Run:
    """Run a command to its end; CPU time is of all its threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with code {process.returncode}")
    peak_bytes = usage.ru_maxrss << (0 if sys.platform == "darwin" else 10)
    return Run(peak_bytes, usage.ru_utime + usage.ru_stime, time.perf_counter() - start)


def embed(model: Path, protein: Path, length: int, num_threads: int) -> Run:
    """Embed, and see that every residue has its finite row."""
    with tempfile.TemporaryDirectory(dir=model.parent) as out:
        command = [sys.executable, "-m", "openankh", "embed", str(protein), "-o", f"{out}/store/", "-m", str(model)]
        taken = run([*command, "--pool", "residues", "--precision", "bf16", "--device", "cpu", "--quiet"], num_threads)
        rows = open_store(Path(out) / "store")[0]
    assert rows.shape == (length, WIDTH) and np.isfinite(rows).all() and rows.std() > 0.1
    return taken


def rows(lengths: Sequence[int], num_layers: int, num_threads: int) -> Iterator[str]:
    """The table, a line at a time."""
    yield "| residues | threads | peak, GiB | limit, GiB | CPU time, s | wall, s | residues/s, by CPU time |"
    yield "|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        subprocess.run([sys.executable, __file__, "--write", str(model), "--layers", str(num_layers)], check=True)
        for length in lengths:
            protein = Path(folder) / "protein.fasta"
            write_protein(protein, length)
            taken = embed(model, protein, length, num_threads)
            peak, limit = taken.peak_bytes / GIB, LIMIT_GIB.get(length)
            cells = [f"{length:,}", str(num_threads), f"{peak:.2f}", "" if limit is None else f"{limit:g}"]
            cells += [f"{taken.cpu_seconds:,.0f}", f"{taken.wall_seconds:,.0f}", f"{length / taken.cpu_seconds:,.0f}"]
            yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 16_384])
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the model there and do nothing else")
    parser.add_argument("--out", type=Path, help=f"for example {FOLDER.name}/LONG.md")
    options = parser.parse_args(arguments)
    if options.write:
        write_model(options.write, options.layers)
        return
    command = ["python", f"{FOLDER.name}/{Path(__file__).name}", *(sys.argv[1:] if arguments is None else arguments)]
    lines = ["# Very long proteins", "", f"`{' '.join(command)}`", "", *machine(), ""]
    for line in rows(options.lengths, options.layers, options.threads):
        print(line, flush=True)
        lines.append(line)
    lines += [
        "",
        f"One protein alone; width {WIDTH}, 12 heads of 64, feed-forward 3,072, {options.layers} layers, random "
        "weights in bf16, read from a folder; one row a residue written to a store. The peak is the most memory that "
        "the process held (resident); loading and writing are part of the times.",
    ]
    print("\n".join(lines[-2:]))
    if options.out:
        write_file_atomically(options.out, "\n".join([*lines, ""]).encode())


if __name__ == "__main__":
    main()
