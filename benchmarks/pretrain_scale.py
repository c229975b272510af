"""What the scale of pre-training is reckoned from: how fast a corpus is made and read here, and its bytes, on one core.

python benchmarks/pretrain_scale.py
"""

import argparse
import gzip
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bench_corpus import fasta_text

from openankh.corpus import Corpus
from openankh.order import Order
from openankh.packing import Batches, Turns
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.recipes import ankh3_xl


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The least CPU time of some rounds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args(arguments)
    text, num_residues, origin = fasta_text(options.records)
    recipe = ankh3_xl()
    print("| what | measured | unit |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix, content in (("fasta", text), ("fasta.gz", gzip.compress(text, compresslevel=6))):
            source = folder / f"proteins.{suffix}"
            source.write_bytes(content)
            took = seconds(
                lambda source=source: prepare([source], folder / "corpus", PrepareOptions(), overwrite=True),
                options.rounds,
            )
            print(f"| prepare from {suffix} | {num_residues / took / 1e6:,.1f} | M residues/s |")
        corpus = Corpus.open(folder / "corpus")
        tokens = sum(path.stat().st_size for path in (folder / "corpus").rglob("*.u8"))
        index = sum(path.stat().st_size for path in (folder / "corpus").rglob("*.i*"))
        print(f"| tokens on disk | {tokens / corpus.num_residues:.3f} | bytes a residue |")
        print(f"| index on disk | {index / corpus.num_proteins:.2f} | bytes a protein |")
        verify = seconds(lambda: Corpus.open(folder / "corpus", verify=True), options.rounds)
        print(f"| verify at the beginning of a run | {(tokens + index) / verify / 1e6:,.0f} | MB/s |")
        batches = Batches(corpus, Order(corpus.num_proteins, 0), recipe.objective, recipe.packing, 0)
        made = list(positions(batches, options.batches))
        took = seconds(lambda: [batches.at(position) for position in made], options.rounds)
        served = sum(batches.at(position).num_residues for position in made)
        print(f"| batches of {recipe.name}: read, hide, show, pack | {served / took / 1e6:,.2f} | M residues/s |")
        took = seconds(lambda: [batches.next_position(position) for position in made], options.rounds)
        print(f"| skip another rank's batch | {took / len(made) * 1e6:,.0f} | microseconds |")
        alone, last = (Turns(batches, rank, size) for rank, size in ((0, 1), (0, 32)))
        times = [seconds(lambda turns=turns: turns.at(0), 20) for turns in (alone, last)]
        print(f"| a batch of one rank, of one of 32 | {times[0] * 1e3:,.2f}, {times[1] * 1e3:,.2f} | milliseconds |")
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    mean = np.mean(corpus.lengths)
    print(f"\n{options.records:,} {origin} of {mean:,.0f} residues on average; one core, CPU time, best of")
    print(f"{options.rounds}; load {load}.")


def positions(batches: Batches, count: int) -> list[int]:
    """Where the first batches begin."""
    found = [0]
    while len(found) < count:
        found.append(batches.next_position(found[-1]))
    return found


if __name__ == "__main__":
    main()
