"""How fast an embedding store is written, opened and read at random, beside HDF5 by h5py holding the same numbers."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from openankh.store import Embedding, EmbeddingStore, Pool, Provenance, parse_target
from openankh.store.writer import writing_store

WIDTH, SEED = 768, 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=100_000, help="pooled proteins beside h5py")
    parser.add_argument("--residue-proteins", type=int, default=2_000, help="proteins with a row a residue beside h5py")
    parser.add_argument("--many", type=int, default=1_000_000, help="pooled proteins of the large store")
    parser.add_argument("--reads", type=int, default=20_000)
    options = parser.parse_args(arguments)
    print("| what | store | HDF5 by h5py | times |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        counts: dict[Pool, int] = {"mean": options.proteins, "residues": options.residue_proteins}
        for pool, count in counts.items():
            for line in beside_hdf5(Path(folder) / pool, pool, count, options.reads):
                print(line, flush=True)
        print("\n| a store of many | |\n|---|---:|")
        for line in large_store(Path(folder) / "many", options.many):
            print(line, flush=True)
    print(
        f"\nWidth {WIDTH}, fp32, lengths as real ones (log-normal, median 326), one core, CPU time; the files lie in "
        "the page cache. A read is a random protein by id, median and 99th percentile of single reads; both "
        f"libraries in turn, {options.reads:,} reads each."
    )


def provenance(pool: Pool, width: int = WIDTH) -> Provenance:
    """What the made-up embeddings say of themselves."""
    return Provenance("a" * 64, "made-up", "b" * 64, "fp32", "fp32", "encoder", (1,), pool, "", width)


def made_up(count: int, of: Provenance) -> Iterator[list[Embedding]]:
    """Proteins of real-looking lengths, in batches."""
    lengths, numbers = random.Random(SEED), np.random.default_rng(SEED)
    block = numbers.normal(size=(40_000, of.width)).astype(np.float32)
    for start in range(0, count, 256):
        batch = []
        for index in range(start, min(start + 256, count)):
            length = max(30, min(35_000, round(lengths.lognormvariate(5.79, 0.6))))
            first = index % 4_000
            values = block[first : first + length] if of.is_per_residue else block[first]
            batch.append(Embedding(f"UniRef50_{index:08}", length, values))
        yield batch


def beside_hdf5(folder: Path, pool: Pool, count: int, num_reads: int) -> Iterator[str]:
    """Rows of one kind of embedding: writing, opening, reading at random, reading all."""
    folder.mkdir()
    of, kind = provenance(pool), f"{count:,} proteins, {'a row a residue' if pool == 'residues' else 'pooled'}"
    store, file = folder / "store", folder / "file.h5"
    ours = seconds_of(lambda: write(f"{store}/", count, of))
    theirs = seconds_of(lambda: write(str(file), count, of))
    num_bytes = sum(path.stat().st_size for path in store.iterdir())
    yield row(f"{kind}: write, MB/s", num_bytes / ours / 1e6, num_bytes / theirs / 1e6)
    yield row(f"{kind}: size, MB", num_bytes / 1e6, file.stat().st_size / 1e6, is_less_better=True)
    first = f"UniRef50_{count // 2:08}"
    ours = seconds_of(lambda: EmbeddingStore.open(store)[first])
    theirs = seconds_of(lambda: h5py.File(file)[first][()])  # type: ignore[index]
    yield row(f"{kind}: open and read one, ms", 1e3 * ours, 1e3 * theirs, is_less_better=True)
    yield from random_reads(kind, store, file, count, num_reads)
    ours = seconds_of(lambda: sum(1 for _ in EmbeddingStore.open(store)))
    theirs = seconds_of(lambda: sum(1 for dataset in h5py.File(file).values() if dataset[()] is not None))  # type: ignore[index]
    yield row(f"{kind}: read all in order, proteins/s", count / ours, count / theirs)


def random_reads(kind: str, store: Path, file: Path, count: int, num_reads: int) -> Iterator[str]:
    """Rows of single reads by id, each library in turn in blocks of a hundred."""
    generator = random.Random(SEED)
    ids = [f"UniRef50_{generator.randrange(count):08}" for _ in range(num_reads)]
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    with EmbeddingStore.open(store) as opened, h5py.File(file) as theirs:
        ways: dict[str, Callable[[str], object]] = {"ours": opened.__getitem__, "theirs": lambda name: theirs[name][()]}  # type: ignore[index]
        for start in range(0, num_reads, 100):
            for name, read in ways.items():
                for protein_id in ids[start : start + 100]:
                    began = time.thread_time()
                    read(protein_id)
                    seconds[name].append(time.thread_time() - began)
    for what, percentile in (("median", 50), ("99th percentile", 99)):
        ours, other = (1e6 * float(np.percentile(seconds[name], percentile)) for name in ("ours", "theirs"))
        yield row(f"{kind}: read one at random, {what}, us", ours, other, is_less_better=True)


def large_store(folder: Path, count: int) -> Iterator[str]:
    """Rows of one large store: its shards as a CPU run makes them."""
    folder.mkdir()
    of = provenance("mean", 192)
    seconds = seconds_of(lambda: write(f"{folder}/store/", count, of))
    num_shards = len(list((folder / "store").glob("shard-*")))
    yield f"| {count:,} pooled proteins of width 192 in {num_shards:,} shards: write, s | {seconds:.1f} |"
    for what, expression in (
        ("open it", "store = openankh.open_store(folder)"),
        ("open it and read a protein by id", f"store = openankh.open_store(folder); store['UniRef50_{count // 3:08}']"),
    ):
        own_seconds, peak = in_new_process(folder / "store", expression)
        yield f"| {what}, ms | {1e3 * own_seconds:.1f} |"
        yield f"| peak memory of the process beyond its imports, MiB | {peak:.1f} |"
    yield f"| begin to go on with it unfinished, ms | {1e3 * resume(folder, count, of):.1f} |"
    for name in ("out.h5", "out.parquet", "out.npz"):
        seconds, peak = export(folder, name)
        yield f"| export as {Path(name).suffix}, proteins/s | {count / seconds:,.0f} |"
        yield f"| peak memory beyond the imports, MiB | {peak:.1f} |"


def resume(folder: Path, count: int, of: Provenance) -> float:
    """Seconds until a run that had done all but the end knows where to go on."""
    target = folder / "unfinished"

    def stop() -> None:
        with writing_store(target, of) as writer:
            for batch in made_up(count, of):
                writer.write(batch)
            raise KeyboardInterrupt

    def go_on() -> None:
        with writing_store(target, of) as writer:
            assert writer.num_done > 0.99 * count
            raise KeyboardInterrupt

    for step in (stop, go_on):
        began = time.process_time()
        try:
            step()
        except KeyboardInterrupt:
            seconds = time.process_time() - began
    return seconds


IN_NEW_PROCESS = """
import sys, time
import numpy, openankh, openankh.store

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

folder = sys.argv[1]
{imports}
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here on
before, began = kib("VmRSS"), time.process_time()
{expression}
print(time.process_time() - began, kib("VmHWM") - before)
"""


def in_new_process(folder: Path, expression: str, imports: str = "") -> tuple[float, float]:
    """CPU seconds and MiB of an expression in a fresh process that has imported what it needs."""
    command = [sys.executable, "-c", IN_NEW_PROCESS.format(expression=expression, imports=imports), str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(found[0]), int(found[1]) / 1024


def export(folder: Path, name: str) -> tuple[float, float]:
    """CPU seconds and MiB of an export."""
    imports = (
        "import h5py, pyarrow.parquet\n"
        "from openankh.store import EmbeddingStore, parse_target\n"
        "from openankh.store.exporting import export_store"
    )
    expression = f"export_store(EmbeddingStore.open(folder), parse_target({str(folder / name)!r}))"
    return in_new_process(folder / "store", expression, imports)


def write(name: str, count: int, of: Provenance) -> None:
    """Write the made-up embeddings to an output of any format."""
    with parse_target(name).writing(of) as output:
        for batch in made_up(count, of):
            output.write(batch)
        output.finish("a" * 64)


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def row(what: str, ours: float, theirs: float, is_less_better: bool = False) -> str:
    """A row of the first table."""
    times = theirs / ours if is_less_better else ours / theirs
    return f"| {what} | {ours:,.4g} | {theirs:,.4g} | {times:.2f} |"


if __name__ == "__main__":
    main()
