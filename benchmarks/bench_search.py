"""Search among a million vectors: a query, a hundred, and an index, beside faiss and scikit-learn in the same run.

    python benchmarks/bench_search.py [--num 1000000] [--width 768] [--folder FOLDER] [--write benchmarks/SEARCH.md]

Makes stores (fp32 and bf16) of made-up vectors in families, with a large part in common as mean-pooled embeddings have
it, in a folder that is removed afterwards: it takes 3.1 + 1.5 GB of disk and as much of memory for a million of 768.
One thread is measured by its CPU time, all by wall; ways take turns, and the median of the rounds is told.
"""

import argparse
import contextlib
import datetime
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import sklearn
import threadpoolctl
from measuring import Timing, interleaved
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

import openankh
from openankh.search.approximate import ApproximateSearch, IndexFacts
from openankh.search.exact import ExactSearch
from openankh.search.index_file import make_index, open_index
from openankh.search.vectors import StoreVectors
from openankh.store import Dtype, Embedding, EmbeddingStore, Provenance, ShardLimits
from openankh.store.writer import writing_store

NEIGHBOURS = 10
FAMILY, LATENT = 20, 40
AT_A_TIME = 4096
SHARDS = ShardLimits(num_bytes=64 << 20, num_residues=10**9)


@dataclass(frozen=True)
class MadeUp:
    """Vectors (N, D) whose families lie in a space of few dimensions, with noise in all; written a part at a time."""

    num: int
    width: int

    def parts(self) -> Iterator[NDArray[np.float32]]:
        """All vectors, in order."""
        generator = np.random.default_rng(0)
        spread_ZD = generator.standard_normal((LATENT, self.width), dtype=np.float32) / np.float32(LATENT**0.5)
        common_D = generator.standard_normal(self.width, dtype=np.float32)
        centres = generator.standard_normal((self.num // FAMILY + 1, LATENT), dtype=np.float32)
        for start in range(0, self.num, AT_A_TIME):
            size = min(AT_A_TIME, self.num - start)
            members = generator.integers(len(centres), size=size)
            latent = centres[members] + 0.5 * generator.standard_normal((size, LATENT), dtype=np.float32)
            noise = generator.standard_normal((size, self.width), dtype=np.float32)
            yield (latent @ spread_ZD + 0.1 * noise + common_D).astype(np.float32)


def write_store(folder: Path, made: MadeUp, dtype: Dtype) -> StoreVectors:
    """A mean-pooled store of these vectors."""
    of = Provenance("a" * 64, "made up", "b" * 64, "fp32", dtype, "encoder", (1,), "mean", "", made.width)
    number = 0
    with writing_store(folder, of, limits=SHARDS) as writer:
        for part in made.parts():
            writer.write([Embedding(f"P{number + at}", 300, row) for at, row in enumerate(part)])
            number += len(part)
        writer.finish("a" * 64)
    return StoreVectors(EmbeddingStore.open(folder))


@contextlib.contextmanager
def all_threads(number: int) -> Iterator[None]:
    """Let BLAS, OpenMP and faiss use so many threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    with threadpoolctl.threadpool_limits(number):
        yield
    faiss.omp_set_num_threads(before)


@dataclass(frozen=True)
class Subject:
    """What is measured: the stores, the same vectors in memory for the rivals, and the index."""

    stores: Mapping[Dtype, StoreVectors]
    memory_ND: NDArray[np.float32]
    approximate: ApproximateSearch

    def ways(self, num_queries: int) -> dict[str, Callable[[], NDArray]]:
        """Ways to find the nearest of so many queries; each gives places (Q, K)."""
        generator = np.random.default_rng(7)
        chosen = generator.choice(len(self.memory_ND), num_queries, replace=False)
        noise = generator.standard_normal((num_queries, self.memory_ND.shape[1]), dtype=np.float32)
        queries = (self.memory_ND[chosen] + 0.1 * noise).astype(np.float32)
        exact = {dtype: ExactSearch(vectors, "euclidean") for dtype, vectors in self.stores.items()}
        for search in exact.values():
            search.norms  # noqa: B018  (read once, as a server would)
        brute = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute", n_jobs=-1).fit(self.memory_ND)
        return {
            "openankh, exact, fp32 store (mapped)": lambda: exact["fp32"].search(queries, NEIGHBOURS).places,
            "openankh, exact, bf16 store (mapped)": lambda: exact["bf16"].search(queries, NEIGHBOURS).places,
            "faiss, flat, fp32 in memory": lambda: faiss.knn(queries, self.memory_ND, NEIGHBOURS)[1],
            "scikit-learn, brute force, fp32 in memory": lambda: brute.kneighbors(queries, return_distance=False),
            "openankh, approximate (faiss index, distances measured)": lambda: (
                self.approximate.search(queries, NEIGHBOURS).places
            ),
        }


@dataclass(frozen=True)
class Measured:
    """One way: its timings by (queries, threads), and the share of the true nearest that it found."""

    timings: Mapping[tuple[int, int], Timing]
    found: float


def measure(subject: Subject, num_rounds: int, threads: tuple[int, ...]) -> Mapping[str, Measured]:
    """Each way with 1 and 100 queries."""
    timings: dict[str, dict[tuple[int, int], Timing]] = {}
    found: dict[str, float] = {}
    for num_queries in (1, 100):
        ways = subject.ways(num_queries)
        places = {name: way() for name, way in ways.items()}
        truth = places["openankh, exact, fp32 store (mapped)"]
        found |= {name: float((truth[:, :, None] == each[:, None]).any(2).mean()) for name, each in places.items()}
        for num_threads in threads:
            with all_threads(num_threads):
                for name, timing in interleaved(ways, num_rounds, num_threads).items():
                    timings.setdefault(name, {})[num_queries, num_threads] = timing
    return {name: Measured(timings[name], found[name]) for name in timings}


@dataclass(frozen=True)
class Built:
    """What building the index took."""

    cpu_seconds: float
    wall_seconds: float
    extra_memory_bytes: int
    index_bytes: int


def build(vectors: StoreVectors) -> tuple[ApproximateSearch, Built]:
    """Build the index in this process, whose peak before it is known."""
    before, wall, cpu = _peak_bytes(), time.perf_counter(), time.process_time()
    make_index(vectors, "euclidean")
    cost = time.process_time() - cpu, time.perf_counter() - wall, _peak_bytes() - before
    search = open_index(vectors, "euclidean")
    assert search is not None
    size = sum(path.stat().st_size for path in Path(f"{vectors.store.folder}.index").iterdir())
    return search, Built(*cost, index_bytes=size)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def table(made: MadeUp, measured: Mapping[str, Measured], built: Built, search: ApproximateSearch) -> str:
    """The report."""
    keys = sorted({key for each in measured.values() for key in each.timings})
    heads = [f"{_queries(num)}, {_clock(threads)}" for num, threads in keys]
    lines = [
        "# Search among a million vectors",
        "",
        f"`python benchmarks/bench_search.py --num {made.num} --width {made.width}`, {datetime.date.today()},",
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (other work on the machine); "
        f"openankh {openankh.__version__},",
        f"numpy {np.__version__}, faiss {faiss.__version__}, scikit-learn {sklearn.__version__}. Milliseconds, median.",
        "",
        f"| {made.num:,} vectors of {made.width} | {' | '.join(heads)} | of the true {NEIGHBOURS} nearest |",
        "|---|" + "---|" * (len(heads) + 1),
    ]
    for name, each in measured.items():
        cells = (f"{1000 * each.timings[key].median:.1f}" for key in keys)
        lines.append(f"| {name} | {' | '.join(cells)} | {each.found:.1%} |")
    return "\n".join([*lines, "", *_of_the_index(made, built, search.facts)]) + "\n"


def _of_the_index(made: MadeUp, built: Built, facts: IndexFacts) -> Iterator[str]:
    cpu, wall, size = f"{built.cpu_seconds:.0f}", f"{built.wall_seconds:.0f}", f"{built.index_bytes / 1e6:.0f}"
    yield f"The index: {facts.num_lists} lists, {facts.num_probes} looked into, {facts.code_bytes} bytes a code; built"
    yield f"in {cpu} s of CPU ({wall} s by wall), {size} MB on disk. Building raised the peak of the process's memory"
    yield f"by {built.extra_memory_bytes / 1e6:.0f} MB; the vectors are {4e-9 * made.num * made.width:.1f} GB. It tells"
    yield f"of itself that it finds {facts.recall:.1%} of the nearest."


def _queries(num: int) -> str:
    return "1 query" if num == 1 else f"{num} queries"


def _clock(threads: int) -> str:
    return "1 thread (CPU)" if threads == 1 else f"{threads} threads (wall)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores are made; a temporary folder otherwise")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    arguments = parser.parse_args()
    made = MadeUp(arguments.num, arguments.width)
    folder = Path(tempfile.mkdtemp(prefix="bench-search-", dir=arguments.folder))
    try:
        types: tuple[Dtype, ...] = ("fp32", "bf16")
        stores: Mapping[Dtype, StoreVectors] = {each: write_store(folder / each, made, each) for each in types}
        search, built = build(stores["fp32"])
        subject = Subject(stores, np.concatenate(list(made.parts())), search)
        measured = measure(subject, arguments.rounds, (1, os.cpu_count() or 1))
    finally:
        shutil.rmtree(folder)
    text = table(made, measured, built, search)
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
