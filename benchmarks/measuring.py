"""Rival ways to do the same work, timed in turn, and the real proteins they are given."""

import contextlib
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from openankh.fasta import FastaReader, ReadOptions, Record

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("OPENANKH_SHARED", REPOSITORY.parent / "shared"))
VALIDATION_PROTEINS = SHARED / "data" / "pretrain" / "valid.fasta.xz"
TRAINING_PROTEINS = VALIDATION_PROTEINS.with_name("train.fasta.xz")
BUNDLED_PROTEINS = REPOSITORY / "src" / "openankh" / "data" / "demo.fasta"


@dataclass(frozen=True)
class RealProteins:
    """Proteins drawn from a file, and words that say from where."""

    records: tuple[Record, ...]
    origin: str

    @property
    def num_residues(self) -> int:
        """Residues of all proteins together."""
        return sum(len(record.sequence) for record in self.records)

    @property
    def longest(self) -> int:
        """Residues of the longest protein."""
        return max(len(record.sequence) for record in self.records)


def draw_proteins(count: int, seed: int = 0) -> RealProteins:
    """Draw proteins of all lengths, in random order: held-out ones of the real data, else of the bundled sample.

    Where there are too few held out, all of them come first, and proteins that models were trained on after them.
    """
    is_there = VALIDATION_PROTEINS.is_file()
    path = VALIDATION_PROTEINS if is_there else BUNDLED_PROTEINS
    records = list(_read(path))
    drawn = random.Random(seed).sample(records, min(count, len(records)))
    origin = "held-out proteins of the real data" if is_there else "bundled demo proteins"
    if (missing := count - len(drawn)) and is_there:
        drawn += itertools.islice(_read(TRAINING_PROTEINS), missing)
        origin = f"proteins of the real data, {len(records):,} held out and the first {missing:,} of those to train on"
    return RealProteins(tuple(drawn), origin)


def _read(path: Path) -> FastaReader:
    return FastaReader(path, ReadOptions(letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


@dataclass(frozen=True)
class Timing:
    """Seconds of each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The round in the middle."""
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        """The quickest round."""
        return min(self.rounds)


def interleaved(ways: Mapping[str, Callable[[], object]], num_rounds: int, num_threads: int) -> dict[str, Timing]:
    """Time each way once a round, after one round that is not counted.

    One thread is measured by the process's CPU time, which neighbours hardly disturb, several by wall.
    """
    clock = time.process_time if num_threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch_threads(num_threads):
        for number in range(num_rounds + 1):
            for name, work in ways.items():
                start = clock()
                work()
                if number:
                    seconds[name].append(clock() - start)
    return {name: Timing(tuple(rounds)) for name, rounds in seconds.items()}


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def relative_error(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> float:
    """The relative L2 distance over all proteins together."""
    difference = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(found, exact, strict=True))
    return (difference / sum(float(b.double().square().sum()) for b in exact)) ** 0.5
