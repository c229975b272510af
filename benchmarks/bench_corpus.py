"""How fast FASTA files become a corpus and how fast it is read, on one core, by CPU time."""

import argparse
import gzip
import itertools
import lzma
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import zstandard

from openankh.corpus import Corpus
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.order import Order
from openankh.preparation import PrepareOptions, prepare
from openankh.vocab import AMINO_ACIDS, openankh_vocab

SHARED = Path(os.environ.get("OPENANKH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
REAL_PROTEINS = SHARED / "data" / "pretrain" / "train.fasta.xz"
PROTEINS_A_BATCH = 24  # about 8,192 residues
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": lambda text: gzip.compress(text, compresslevel=6),
    "xz": lambda text: lzma.compress(text, preset=6),
    "zst": zstandard.compress,
}
DECOMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "xz": lzma.decompress,
    "zst": zstandard.decompress,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| what | M a second | unit | beside |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        text, num_residues, origin = fasta_text(options.records)
        for row in prepare_rows(Path(folder), text, num_residues, options.rounds):
            print(row)
        corpus = Corpus.open(Path(folder) / "corpus")
        for row in (*gather_rows(corpus, options.rounds), *order_rows(options.rounds)):
            print(row)
    print(f"\n{options.records:,} {origin}, {num_residues:,} residues; one core, CPU time, best of {options.rounds}.")


def fasta_text(num_records: int) -> tuple[bytes, int, str]:
    """A FASTA file's bytes, its residues, and where it comes from: real proteins where they are at hand."""
    real = REAL_PROTEINS.is_file()
    source = real_records() if real else made_up_records()
    records = list(itertools.islice(source, num_records))
    text = "".join(f">{record.id} {record.description}\n{record.sequence}\n" for record in records)
    origin = "real proteins" if real else "made-up proteins"
    return text.encode(), sum(len(record.sequence) for record in records), origin


def real_records() -> Iterator[Record]:
    """The first proteins of the training data."""
    yield from FastaReader(REAL_PROTEINS, ReadOptions(letters=openankh_vocab().letters))


def made_up_records() -> Iterator[Record]:
    """Proteins of real-looking lengths (median 326) that no compression can shorten below 4.3 bits a residue."""
    source = random.Random(0)
    for number in itertools.count():
        length = max(30, min(35_000, round(source.lognormvariate(5.79, 0.6))))
        sequence = "".join(source.choices(AMINO_ACIDS, k=length))
        yield Record(f"made-up-{number}", f"source=none c50=s{number} c90=s{number} rep50 rep90", sequence, 0)


def prepare_rows(folder: Path, text: bytes, num_residues: int, rounds: int) -> Iterator[str]:
    """From FASTA to a complete corpus, beside reading the records or decompressing the bytes and nothing more."""
    for name, compress in COMPRESSIONS.items():
        stored = compress(text)
        path = folder / f"proteins.{name}"
        path.write_bytes(stored)

        def build(path: Path = path) -> None:
            prepare([path], folder / "corpus", PrepareOptions(), overwrite=True)

        def part(path: Path = path, stored: bytes = stored, name: str = name) -> None:
            if name == "plain":
                deque(FastaReader(path), maxlen=0)
            else:
                DECOMPRESSIONS[name](stored)

        beside = "reading alone" if name == "plain" else "decompressing alone"
        rate, other = (num_residues / seconds(work, rounds) / 1e6 for work in (build, part))
        yield f"| prepare from {name} | {rate:,.1f} | residues | {beside} {other:,.1f} |"


def gather_rows(corpus: Corpus, rounds: int) -> Iterator[str]:
    """Batches of proteins in random order, beside an index array over the same memory."""
    order = Order(corpus.num_proteins, seed=0)
    batches = [order.at(np.arange(place, place + PROTEINS_A_BATCH)) for place in range(0, 24_000, PROTEINS_A_BATCH)]
    num_residues = sum(int(corpus.lengths[batch].sum()) for batch in batches)
    ours = seconds(lambda: [corpus.gather(batch) for batch in batches], rounds)
    theirs = seconds(lambda: [gather_by_index(corpus, batch) for batch in batches], rounds)
    beside = f"index array {num_residues / theirs / 1e6:,.1f}"
    yield f"| gather {PROTEINS_A_BATCH} proteins | {num_residues / ours / 1e6:,.1f} | residues | {beside} |"


def gather_by_index(corpus: Corpus, indices: np.ndarray) -> np.ndarray:
    """The usual NumPy way: repeat, arange and one fancy index (of a corpus of one shard)."""
    tokens, starts = np.frombuffer(corpus._shards[0], dtype=np.uint8), corpus._offsets[indices]
    lengths = corpus._offsets[indices + 1] - starts
    ends = np.cumsum(lengths)
    return tokens[np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)]


def order_rows(rounds: int) -> Iterator[str]:
    """Positions of UniRef50's size, beside a stored permutation that is made anew each epoch."""
    num = 45_000_000
    order, place = Order(num, seed=0), np.arange(1 << 20) + 10 * num
    generator = np.random.default_rng(0)
    ours = place.size / seconds(lambda: order.at(place), rounds) / 1e6
    theirs = num / 10 / seconds(lambda: generator.permutation(num // 10), 1) / 1e6
    yield f"| order of documents | {ours:,.1f} | positions, O(1) memory | permutation, 8 bytes each: {theirs:,.1f} |"


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The least CPU time of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
