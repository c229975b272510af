"""How fast FASTA files are read, beside other readers that are installed, on one core, by CPU time."""

import argparse
import bz2
import gzip
import importlib
import itertools
import lzma
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import zstandard

from openankh.decompression import ByteSource
from openankh.fasta import FastaReader, ReadOptions

SHARED = Path(os.environ.get("OPENANKH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
REAL_PROTEINS = SHARED / "data" / "pretrain" / "train.fasta.xz"
OPTIONS = ReadOptions(letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ")
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda text: gzip.compress(text, compresslevel=6),
    "xz": lambda text: lzma.compress(text, preset=6),
    "zst": zstandard.compress,
    "bz2": bz2.compress,
}
Reader = Callable[[Path], int]
"""Reads a file and returns its number of residues."""


def ours(path: Path) -> int:
    return sum(len(record.sequence) for record in FastaReader(path, OPTIONS))


def decompression_alone(path: Path) -> int:
    """What the reader stands on; residues are not told apart here, so they are given by main."""
    with ByteSource(path) as source:
        for _ in source.blocks():
            pass
    return -1


def by_dnaio(path: Path) -> int:
    dnaio = importlib.import_module("dnaio")
    with dnaio.open(path, open_threads=0) as records:
        return sum(len(record.sequence) for record in records)


def by_pyfastx(path: Path) -> int:
    pyfastx = importlib.import_module("pyfastx")
    return sum(len(sequence) for _, sequence in pyfastx.Fastx(str(path)))


def by_screed(path: Path) -> int:
    screed = importlib.import_module("screed")
    with screed.open(str(path)) as records:
        return sum(len(record.sequence) for record in records)


READERS: dict[str, Reader] = {
    "OpenAnkh": ours,
    "decompression alone": decompression_alone,
    "dnaio": by_dnaio,
    "pyfastx": by_pyfastx,
    "screed": by_screed,
}


def real_text(num_records: int) -> tuple[bytes, bytes, int]:
    """The first real proteins as FASTA, unwrapped and wrapped at 60, and their residues."""
    unwrapped, wrapped, num_residues = [], [], 0
    for record in itertools.islice(FastaReader(REAL_PROTEINS, OPTIONS), num_records):
        header = f">{record.id} {record.description}\n"
        lines = [record.sequence[i : i + 60] for i in range(0, len(record.sequence), 60)]
        unwrapped.append(f"{header}{record.sequence}\n")
        wrapped.append(header + "\n".join(lines) + "\n")
        num_residues += len(record.sequence)
    return "".join(unwrapped).encode(), "".join(wrapped).encode(), num_residues


def files(folder: Path, num_records: int) -> tuple[dict[str, Path], int]:
    """Write the files to read, by the name of their column, and count their residues."""
    unwrapped, wrapped, num_residues = real_text(num_records)
    contents = {"plain": unwrapped, "plain, wrapped at 60": wrapped}
    contents |= {name: compress(wrapped) for name, compress in COMPRESSIONS.items()}
    paths = {}
    for name, data in contents.items():
        paths[name] = folder / f"proteins.fasta{'' if name.startswith('plain') else '.' + name}"
        if name != "plain":
            paths[name] = paths[name].with_stem("wrapped." + paths[name].stem)
        paths[name].write_bytes(data)
    return paths, num_residues


def rate(reader: Reader, path: Path, num_residues: int, rounds: int) -> float | None:
    """Residues a second of CPU time, best of the rounds; None where the reader cannot read the file."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        try:
            found = reader(path)
        except Exception:  # another reader's way of saying that it does not know the compression
            if reader is ours:
                raise
            return None
        best = min(best, time.process_time() - start)
        if found not in (num_residues, -1):
            return None
    return num_residues / best


def rows(paths: dict[str, Path], num_residues: int, rounds: int) -> Iterator[str]:
    """The lines of the table."""
    yield "| M residues/s | " + " | ".join(paths) + " |"
    yield "|---|" + "---|" * len(paths)
    for name, reader in READERS.items():
        try:
            version = getattr(importlib.import_module(name), "__version__", "") if reader.__name__[:3] == "by_" else ""
        except ImportError:
            continue
        rates = [rate(reader, path, num_residues, rounds) for path in paths.values()]
        cells = " | ".join("—" if found is None else f"{found / 1e6:.0f}" for found in rates)
        yield f"| {name} {version}".rstrip() + f" | {cells} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not REAL_PROTEINS.is_file():
        print(f"The real proteins are not at {REAL_PROTEINS}: set OPENANKH_SHARED to the folder that holds data/.")
        return
    with tempfile.TemporaryDirectory() as folder:
        paths, num_residues = files(Path(folder), options.records)
        for row in rows(paths, num_residues, options.rounds):
            print(row, flush=True)
    print(
        f"\n{options.records:,} real proteins, {num_residues:,} residues; one core, CPU time, best of {options.rounds}."
    )


if __name__ == "__main__":
    main()
