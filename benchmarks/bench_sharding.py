"""Peak memory of each rank with weights shared out and not, and what a checkpoint costs training; on gloo ranks.

python benchmarks/bench_sharding.py; writes benchmarks/SHARDING.md. About 4 minutes and 3 GB.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

SHAPE = (
    "model.d_model=384", "model.d_ff=1536", "model.d_kv=64", "model.num_heads=6", "model.num_encoder_layers=8",
    "model.num_decoder_layers=4", "packing.tokens=512", "packing.crop=256", "dtype=fp32", "accumulation=4",
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


SETUPS = [
    Setup(num_ranks, sharding, recompute, optimiser)
    for optimiser in ("adamw", "muon", "adafactor")
    for num_ranks, sharding, recompute in (
        (1, "none", False), (1, "none", True), (2, "none", False), (2, "full", False), (4, "none", False),
        (4, "full", False), (4, "full", True),
    )
    if optimiser == "adamw" or (num_ranks == 4 and not recompute)
]  # fmt: skip


def resident_mib(peak: bool = False) -> float:
    """Memory of this process, now or the most since the last `forget_peak`."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def forget_peak() -> None:
    """Let the peak begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def be_a_rank(setup: Setup, corpus: Path) -> None:
    """Train two steps as one of the ranks that the environment tells of; print what they took."""
    import torch

    from openankh.corpus import Corpus
    from openankh.pretraining.engine import Engine
    from openankh.pretraining.ranks import joined_ranks
    from openankh.pretraining.recipes import recipe_named
    from openankh.pretraining.trainer import Trainer

    torch.set_num_threads(1)
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
        if ranks.is_first:
            print(json.dumps(asdict(Measured(*taken))))


def measured(setup: Setup, corpus: Path) -> Measured:
    """Start the ranks of a setup and wait for them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
    # What is freed goes back to the system at once, so that memory of the process is memory of tensors.
    fixed = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, __file__, "--rank-of", json.dumps(asdict(setup)), "--corpus", str(corpus)]
    ranks = [
        subprocess.Popen(
            command,
            env={**fixed, **place, "RANK": str(rank), "WORLD_SIZE": str(setup.num_ranks)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(setup.num_ranks)
    ]
    printed = [rank.communicate()[0] for rank in ranks]
    assert not any(rank.returncode for rank in ranks), [rank.returncode for rank in ranks]
    return Measured(**json.loads(printed[0]))


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
        yield (
            f"| {setup.optimiser} | {setup.num_ranks} | {weights} | {again} | {got.rest_mib:,.0f} "
            f"| {got.peak_mib:,.0f} | {got.cpu_seconds:.1f} |"
        )


def checkpoint_table(corpus: Path, num_rounds: int) -> Iterator[str]:
    """What a checkpoint takes from training when it is written behind, beside writing it in front."""
    import torch

    from openankh.corpus import Corpus
    from openankh.pretraining.checkpoints import Checkpoints
    from openankh.pretraining.recipes import recipe_named
    from openankh.pretraining.trainer import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(recipe_named("micro", [*SHAPE, "optimiser.name=adamw"]), Corpus.open(corpus), torch.device("cpu"))
    trainer.update(1e-3)
    seconds: dict[str, list[float]] = {name: [] for name in ("plain", "stall", "beside", "front", "behind")}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep_last=1)
        for _ in range(num_rounds):
            seconds["plain"].append(timed(lambda: trainer.update(1e-3)))
            seconds["stall"].append(timed(lambda: checkpoints.write_behind(trainer.state({}))))
            seconds["beside"].append(timed(lambda: trainer.update(1e-3)))
            seconds["behind"].append(timed(checkpoints.wait))
            seconds["front"].append(timed(lambda: checkpoints.write(trainer.state({}))))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors")) / 2**20
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    yield f"| a checkpoint of {size:,.0f} MiB | seconds, median of {num_rounds} |"
    yield "|---|---:|"
    yield f"| a step with nothing beside it | {middle['plain']:.2f} |"
    yield f"| training stands still: the copy that is written later | {middle['stall']:.2f} |"
    yield f"| the step during which it is hashed and written | {middle['beside']:.2f} |"
    yield f"| left to write after that step | {middle['behind']:.2f} |"
    yield f"| the same checkpoint written in front, training waiting | {middle['front']:.2f} |"


def timed(work) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table; or, told so, be one of the ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "SHARDING.md")
    options = parser.parse_args(arguments)
    if options.rank_of:
        be_a_rank(Setup(**json.loads(options.rank_of)), options.corpus)
        return
    from bench import machine

    from openankh.pretraining.recipes import recipe_named
    from training_samples import prepare_sample

    num_parameters = recipe_named("micro", SHAPE).model.num_parameters
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare_sample(Path(folder) / "corpus")
        lines = [
            "# Weights shared out, and checkpoints behind training\n",
            "By `python benchmarks/bench_sharding.py`.\n",
            *machine(),
            f"\n## Memory of a rank\n\nA T5 of {num_parameters:,} parameters in fp32 (its weights: "
            f"{num_parameters * 4 / 2**20:,.0f} MiB), 4 batches of 512 tokens a step, gloo ranks on this machine; "
            "each process's memory beyond what it had before the model was made, of the rank that took the most. "
            "Before the first step each process holds all weights once, while they are drawn.\n",
            *memory_table(corpus),
            "\n## What a checkpoint takes from training\n\nThe same network and AdamW, one process, one thread, on the "
            "disk of the system's temporary folder.\n",
            *checkpoint_table(corpus, 5),
        ]
    options.out.write_text("\n".join(lines) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
