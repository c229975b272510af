"""Q3 from embedding to accuracy: rows computed once, a linear probe trained on them, scikit-learn on the same rows.

    OMP_NUM_THREADS=1 python benchmarks/bench_probe.py [--limit N] [--cache FOLDER] [--data FOLDER] [--seed 0]

Steps run in processes of their own, in which peak memory is theirs alone: rows of all chains into a cache that holds
nothing yet; the linear head of `openankh finetune`, which reads them from the disk, by its own number of epochs;
scikit-learn's SGDClassifier, fed chain by chain from the same cache, five times over; and scikit-learn's
LogisticRegression, which wants all rows in memory. All but the first read the same fp16 numbers, scaled alike. Seconds
of one thread's CPU time.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measuring import SHARED
from numpy.typing import NDArray

from openankh.benchmarking.drawn import limited
from openankh.embedding.options import EmbedOptions
from openankh.lookup.vector_kind import ModelAccess
from openankh.tasks.cached_states import CachedStates
from openankh.tasks.data_folder import DataFolder
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.finetuning import BaseModel, HeadChoice, states_of
from openankh.tasks.fitting import FitOptions, fit_head, outputs_of
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import find_task
from openankh.tasks.target_space import IGNORED
from openankh.tasks.validation import score_of

EPOCHS = 5
_EVERY = 0.02


class PeakMemory:
    """The most memory that is no file's, in MiB, looked at fifty times a second; the cache's mapped pages are free."""

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.mib = max(self.mib, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")))

    def stop(self) -> float:
        """The most there was."""
        self._stop.set()
        self._thread.join()
        return self.mib


def data_of(folder: Path, limit: int | None) -> TaskData:
    """Q3, at most so many chains of each split."""
    return limited(load_task(find_task("secondary-structure-q3"), DataFolder(folder)), limit, None)


def rows_of(data: TaskData, cache: Path) -> CachedStates:
    """The rows of all its chains, from the cache or computed into it."""
    base = BaseModel("openankh-nano", options=EmbedOptions(precision="auto"), access=ModelAccess("cpu"), cache=cache)
    return states_of(data, HeadChoice("linear"), base)


def accuracies(data: TaskData, outputs: Callable[[Examples], Sequence[NDArray]]) -> dict[str, float]:
    """Of every test set, in per cent."""
    return {
        name: 100 * score_of("accuracy", data.space, outputs(examples), examples)
        for name, examples in data.tests.items()
    }


def embed(data: TaskData, cache: Path, seed: int) -> dict[str, float]:
    """Compute the rows."""
    rows_of(data, cache)
    return {}


def ours(data: TaskData, cache: Path, seed: int) -> dict[str, float]:
    """The linear head of `openankh finetune`, batches read from the disk."""
    states = rows_of(data, cache)
    config = HeadChoice("linear").config(data, states.preprocessing.width)
    fitted = fit_head(config, data, states, FitOptions(seed=seed))
    return accuracies(data, lambda examples: list(outputs_of(fitted.predictor, states, examples)))


def sgd(data: TaskData, cache: Path, seed: int) -> dict[str, float]:
    """scikit-learn's SGDClassifier, fed chain by chain from the same cache."""
    from sklearn.linear_model import SGDClassifier

    states = rows_of(data, cache)
    mean_D, scale_D = scale_of(data, states)
    model = SGDClassifier(loss="log_loss", random_state=seed, average=True)
    generator = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for place in generator.permutation(len(data.train)):
            rows_ND, classes_N = counted(data.train, int(place), states)
            if len(rows_ND):
                model.partial_fit((rows_ND - mean_D) / scale_D, classes_N, classes=np.arange(3))
    return accuracies(data, lambda examples: _told(examples, states, model, mean_D, scale_D))


def logistic_regression(data: TaskData, cache: Path, seed: int) -> dict[str, float]:
    """scikit-learn's LogisticRegression by L-BFGS on all rows in memory."""
    from sklearn.linear_model import LogisticRegression

    states = rows_of(data, cache)
    mean_D, scale_D = scale_of(data, states)
    num = sum(int((target != IGNORED).sum()) for target in data.train.targets)
    x_ND, y_N, at = np.empty((num, len(mean_D)), np.float32), np.empty(num, np.int64), 0
    for place in range(len(data.train)):
        rows_ND, classes_N = counted(data.train, place, states)
        x_ND[at : at + len(rows_ND)] = (rows_ND - mean_D) / scale_D
        y_N[at : at + len(rows_ND)] = classes_N
        at += len(rows_ND)
    model = LogisticRegression(max_iter=200).fit(x_ND, y_N)
    return accuracies(data, lambda examples: _told(examples, states, model, mean_D, scale_D))


def counted(examples: Examples, place: int, states: CachedStates) -> tuple[NDArray, NDArray]:
    """Rows and classes of a chain's residues that are counted."""
    is_counted = examples.targets[place] != IGNORED
    return states.rows(examples.sequences[place])[is_counted], examples.targets[place][is_counted]


def scale_of(data: TaskData, states: CachedStates) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each number of the rows, over 1,000 training chains."""
    rows_ND = np.concatenate([states.rows(sequence) for sequence in data.train.sequences[:1000]])
    return rows_ND.mean(axis=0), rows_ND.std(axis=0) + 1e-6


def _told(examples: Examples, states: CachedStates, model: object, mean_D: NDArray, scale_D: NDArray) -> list[NDArray]:
    decide = model.decision_function  # type: ignore[attr-defined]  # pyright: ignore
    return [decide((states.rows(sequence) - mean_D) / scale_D) for sequence in examples.sequences]


STEPS: dict[str, Callable[[TaskData, Path, int], dict[str, float]]] = {
    "embedding into the cache": embed,
    "linear head of openankh finetune": ours,
    "scikit-learn SGDClassifier, streamed": sgd,
    "scikit-learn LogisticRegression, in memory": logistic_regression,
}


def run_step(name: str, folder: Path, limit: int | None, cache: Path, seed: int) -> None:
    """Do one step here, and print what it came to as JSON; reading the tables is not timed."""
    data = data_of(folder, limit)
    memory, load = PeakMemory(), os.getloadavg()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    found = STEPS[name](data, cache, seed)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    facts = {"cpu": cpu, "wall": wall, "mib": memory.stop(), "load": load, **found}
    splits = {f"num_{split}": len(part) for split, part in data.splits.items()}
    print(json.dumps({**facts, **splits, "residues": sum(part.num_residues for part in data.splits.values())}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--limit", type=int, help="chains of each split at most")
    parser.add_argument("--cache", type=Path, help="a folder to keep the rows in; else one that is removed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        run_step(chosen.step, chosen.data, chosen.limit, chosen.cache, chosen.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        _print_table(chosen, chosen.cache or Path(folder))


def _print_table(chosen: argparse.Namespace, cache: Path) -> None:
    import sklearn
    import torch

    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"- Python {platform.python_version()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}")
    print(f"- {platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}\n")
    print("| step | CPU s | wall s | peak MiB | NEW364 | CB513 | load |\n|---|---:|---:|---:|---:|---:|---:|")
    found: dict[str, float] = {}
    for name in STEPS:
        words = [sys.executable, __file__, "--step", name, "--data", str(chosen.data), "--cache", str(cache)]
        words += ["--seed", str(chosen.seed)] + (["--limit", str(chosen.limit)] if chosen.limit else [])
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        tests = [f"{found[test]:.2f}" if test in found else "" for test in ("test_new364", "test_cb513")]
        cells = [name, *(f"{found[key]:,.1f}" for key in ("cpu", "wall")), f"{found['mib']:,.0f}", *tests]
        print(f"| {' | '.join(cells)} | {found['load']:.1f} |", flush=True)
    counts = ", ".join(f"{key[4:]} {value:,}" for key, value in found.items() if key.startswith("num_"))
    print(f"\nChains: {counts}; {found['residues']:,} residues.")


if __name__ == "__main__":
    main()
