"""Peak memory of each rank with weights shared out and not, and what a checkpoint costs training; on gloo ranks.

python benchmarks/bench_sharding.py; writes benchmarks/SHARDING.md. About a minute and 2 GB.
"""

import argparse
import ctypes
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).resolve().parent
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

from bench import machine  # noqa: E402

from openankh.corpus import Corpus  # noqa: E402
from openankh.pretraining.checkpoints import Checkpoints  # noqa: E402
from openankh.pretraining.engine import Engine  # noqa: E402
from openankh.pretraining.ranks import joined_ranks  # noqa: E402
from openankh.pretraining.recipes import recipe_named  # noqa: E402
from openankh.pretraining.trainer import Trainer  # noqa: E402
from training_samples import prepare_sample  # noqa: E402

M_MMAP_THRESHOLD = -3
"""Of mallopt (Linux): blocks from this size on are asked from the system, and go back to it."""

SHAPE = (
    "model.d_model=256", "model.d_ff=1024", "model.d_kv=32", "model.num_heads=8", "model.num_encoder_layers=8",
    "model.num_decoder_layers=4", "packing.tokens=256", "packing.crop=128", "dtype=fp32", "accumulation=4",
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Processes that train together, and how."""

    num_ranks: int
    sharding: str
    recompute: bool
    optimiser: str


@dataclass(frozen=True)
class Measured:
    """Of the rank that took the most: memory of tensors between steps, the peak in steps; CPU seconds a step."""

    rest_mib: float
    peak_mib: float
    cpu_seconds: float


SETUPS = (
    Setup(1, "none", False, "adamw"),
    Setup(4, "none", False, "adamw"),
    Setup(4, "full", False, "adamw"),
    Setup(4, "full", True, "adamw"),
    Setup(4, "none", False, "muon"),
    Setup(4, "full", False, "muon"),
)


def resident_mib(peak: bool = False) -> float:
    """Memory of this process, now or the most since the last `forget_peak`."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def forget_peak() -> None:
    """Let the peak begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def be_a_rank(setup: Setup, corpus: Path) -> Measured:
    """Train two steps as one of the ranks that the environment tells of; what the one took that took the most."""
    with joined_ranks("cpu") as ranks:
        before = resident_mib()
        recipe = recipe_named("micro", [*SHAPE, f"optimiser.name={setup.optimiser}"])
        engine = Engine("full" if setup.sharding == "full" else "none", setup.recompute)
        trainer = Trainer(recipe, Corpus.open(corpus), torch.device("cpu"), ranks=ranks, engine=engine)
        trainer.update(1e-3)
        rest = resident_mib()
        forget_peak()
        began = time.process_time()
        trainer.update(1e-3)
        seconds = time.process_time() - began
        taken = [ranks.largest(number) for number in (rest - before, resident_mib(peak=True) - before, seconds)]
    return Measured(*taken)


def measured(setup: Setup, corpus: Path) -> Measured:
    """Fork the ranks of a setup and wait for them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
    reading, writing = os.pipe()
    children: list[int] = []
    for rank in range(setup.num_ranks):
        if (child := os.fork()) == 0:
            os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(setup.num_ranks))
            found = be_a_rank(setup, corpus)
            if rank == 0:
                os.write(writing, json.dumps(asdict(found)).encode())
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(writing)
    assert not any(codes), codes
    with os.fdopen(reading) as told:
        return Measured(**json.loads(told.read()))


def memory_table(corpus: Path) -> Iterator[str]:
    """One line a setup."""
    columns = (
        "optimiser",
        "ranks",
        "weights",
        "computed again",
        "MiB a rank between steps",
        "peak",
        "CPU s a step",
    )
    yield f"| {' | '.join(columns)} |"
    yield "|---|---:|---|---|---:|---:|---:|"
    for setup in SETUPS:
        got = measured(setup, corpus)
        weights = "shared out" if setup.sharding == "full" else "all on each"
        again = "yes" if setup.recompute else "no"
        print(setup, got, flush=True)
        yield (
            f"| {setup.optimiser} | {setup.num_ranks} | {weights} | {again} | {got.rest_mib:,.0f} "
            f"| {got.peak_mib:,.0f} | {got.cpu_seconds:.1f} |"
        )


def checkpoint_table(corpus: Path, num_rounds: int) -> Iterator[str]:
    """What a checkpoint takes from training when it is written behind, beside writing it in front."""
    trainer = Trainer(recipe_named("micro", [*SHAPE, "optimiser.name=adamw"]), Corpus.open(corpus), torch.device("cpu"))
    trainer.update(1e-3)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ("plain", "stall", "beside", "behind", "front")}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep_last=1)
        for _ in range(num_rounds):
            spent["plain"].append(timed(lambda: trainer.update(1e-3)))
            spent["stall"].append(timed(lambda: checkpoints.write_behind(trainer.state({}))))
            spent["beside"].append(timed(lambda: trainer.update(1e-3)))
            spent["behind"].append(timed(checkpoints.wait))
            spent["front"].append(timed(lambda: checkpoints.write(trainer.state({}))))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors")) / 2**20
    what = {
        "plain": "a step with nothing beside it",
        "stall": "training stands still: the copy that is written later",
        "beside": "the step during which it is hashed and written",
        "behind": "waiting for what is left to write after that step",
        "front": "the same checkpoint written in front, training waiting",
    }
    yield f"| a checkpoint of {size:,.0f} MiB, least of {num_rounds} | s, wall | CPU s of the training thread |"
    yield "|---|---:|---:|"
    for name, line in what.items():
        wall, cpu = (min(values) for values in zip(*spent[name], strict=True))
        yield f"| {line} | {wall:.2f} | {cpu:.2f} |"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this thread."""
    began = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - began[0], time.thread_time() - began[1]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "SHARDING.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # What is freed goes back to the system at once, so that memory of the process is memory of tensors.
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    num_parameters = recipe_named("micro", SHAPE).model.num_parameters
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare_sample(Path(folder) / "corpus")
        lines = [
            "# Weights shared out, and checkpoints behind training\n",
            "By `python benchmarks/bench_sharding.py`.\n",
            *machine(),
            f"\n## Memory of a rank\n\nA T5 of {num_parameters:,} parameters in fp32 (its weights: "
            f"{num_parameters * 4 / 2**20:,.0f} MiB), 4 batches of 256 tokens a step, gloo ranks on this machine; "
            "each process's memory beyond what it had before the model was made, of the rank that took the most. "
            "Before the first step each process holds all weights once, while they are drawn.\n",
            *memory_table(corpus),
            "\n## What a checkpoint takes from training\n\nThe same network and AdamW, one process, one thread, on the "
            "disk of the system's temporary folder.\n",
            *checkpoint_table(corpus, 3),
        ]
    options.out.write_text("\n".join(lines) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    main()
