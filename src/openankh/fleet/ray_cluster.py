"""Workers on a Ray cluster, by Ray Data: one task reads the input, actors make shards of its parts, rows tell of them.

The model is loaded once an actor. Ray Data streams parts to whichever actor is free, holds the reader back while all
are busy, starts actors as machines come, and has the work of dead ones done again. What it cannot know is kept here: a
part that ends every worker comes to an end itself, and what went wrong in a worker comes as one line.
"""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.exceptions import RayError

from openankh import __version__
from openankh.errors import UserError
from openankh.fleet.address import LOCAL
from openankh.fleet.device_workers import MAX_DEATHS, num_cores
from openankh.fleet.job import Failed, Job, Setup, embed_part
from openankh.fleet.landing import Landed, Landing
from openankh.fleet.part_rows import outcome_of_row, part_of_row, row_of_failure, row_of_outcome, row_of_part
from openankh.fleet.parts import Part, PartSource

_WHERE = "the cluster"


@dataclass(frozen=True)
class Share:
    """What Ray sets aside for each of `num_workers` workers; one with a GPU computes there."""

    num_workers: int
    num_cpus: int
    num_gpus: int

    @property
    def device(self) -> str:
        """Where a worker computes; Ray shows it no other GPU than its own."""
        return "cuda" if self.num_gpus else "cpu"


class RayCluster:
    """Workers on the cluster at `address`, or with `local` on one started here; leave the block to let go of it.

    `num_workers` None is one a GPU, or where there is none one a machine; `device` is auto, cuda or cpu. Raises
    UserError when no cluster is there.
    """

    def __init__(self, job: Job, address: str, num_workers: int | None = None, device: str = "auto") -> None:
        self._job = job
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(address, num_workers)
        self.share = _share(num_workers, device)
        self._setup: Setup | None = None

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_ours:
            ray.shutdown()

    def setup(self) -> Setup:
        """What a worker finds, on a machine of the cluster: the driver's may have neither GPU nor model."""
        if self._setup is None:
            share = self.share
            probe = ray.remote(num_cpus=share.num_cpus, num_gpus=share.num_gpus)(_probe)
            with _one_line():
                found = ray.get(probe.remote(self._job, share.device, share.num_cpus))
            if isinstance(found, Failed):
                raise found.error(_WHERE)
            self._setup = found
        return self._setup

    def run(self, source: PartSource, landing: Landing, on_progress: Callable[[int, int], None]) -> Iterator[Landed]:
        """Let the workers make every part of the source; yields each one's shard, as soon as it is durable."""
        share, num_records, num_residues = self.share, 0, 0
        rows = _dataset(source).map_batches(
            RayWorker,
            fn_constructor_args=(self._job, share.device, share.num_cpus, landing, self.setup(), __version__),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=share.num_workers,
                max_tasks_in_flight_per_actor=3,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,  # one shard is written while the next part is embedded
            ),
            num_cpus=share.num_cpus,
            num_gpus=share.num_gpus or None,
        )
        with _one_line(), _quiet():
            for row in rows.iter_rows():
                outcome = outcome_of_row(row["kind"], row["content"])
                if isinstance(outcome, Failed):
                    raise outcome.error(_WHERE)
                num_records += outcome.entry.num_records
                num_residues += outcome.entry.num_residues
                yield outcome
                on_progress(num_records, num_residues)


class RayWorker:
    """An actor: the model, loaded once, and part after part as a shard where the store can take it up."""

    def __init__(
        self, job: Job, device: str, num_threads: int, landing: Landing, expected: Setup, version: str
    ) -> None:
        self._landing = landing
        self._embedding = threading.Lock()
        self._failed: Failed | None = None
        try:
            if version != __version__:
                raise UserError(f"{os.uname().nodename} has openankh {__version__}, the driver {version}; install one")
            self._embedder, self._setup = job.load(device, num_threads)
            expected.require_same(self._setup, os.uname().nodename)
        except Exception as error:  # raised here it would come back as pages, and be tried again
            self._failed = Failed.by(error)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Make the shard of the part in the only row; one row says what became of it."""
        part = part_of_row(table)
        if isinstance(part, Failed):
            return row_of_outcome(part)
        return row_of_outcome(self._failed or self._made(part))

    def _made(self, part: Part) -> Landed | Failed:
        try:
            with self._embedding:
                _require_hope(self._landing.attempt(part.number), part)
                made = embed_part(self._embedder, part)
            landed = self._landing.land(part.number, part.first, made.content, self._setup.provenance)
            return replace(landed, incidents=made.incidents)
        except Exception as error:
            return Failed.by(error)


class _Parts(Datasource):
    """The parts of an input, a row each, read by one task."""

    def __init__(self, source: PartSource) -> None:
        self._source = source

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None):
        nothing_known = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(_rows, self._source), nothing_known)]


def _rows(source: PartSource) -> Iterator[pa.Table]:
    try:
        yield from map(row_of_part, source.parts())
    except Exception as error:
        yield row_of_failure(Failed.by(error))


def _dataset(source: PartSource) -> ray.data.Dataset:
    """The parts as Ray Data streams them: a block each, read where this process is, for the input may be only there."""
    with _quiet():
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        rows = ray.data.read_datasource(_Parts(source), override_num_blocks=1, num_cpus=0, label_selector=here)
        rows.context.target_max_block_size = rows.context.target_min_block_size = 1
        rows.context.enable_progress_bars = False
        return rows


def _probe(job: Job, device: str, num_threads: int) -> Setup | Failed:
    try:
        return job.load(device, num_threads)[1]
    except Exception as error:
        return Failed.by(error)


def _require_hope(num_before: int, part: Part) -> None:
    if num_before >= MAX_DEATHS:
        raise UserError(
            f"{part.shown}: {num_before} workers ended one after the other; "
            "if memory ran out, use machines with more or a smaller --max-tokens"
        )


def _connect(address: str, num_workers: int | None) -> None:
    try:
        with _quiet():
            if address == LOCAL:
                cores = max(num_cores(), num_workers or 1)
                ray.init(
                    LOCAL, num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                )
            else:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--ray {address}: no cluster to be reached ({reason}); "
            "run on one of its machines with --ray auto, or take --ray local"
        ) from None


def _share(num_workers: int | None, device: str) -> Share:
    """What each worker gets: a GPU where there are any, else an even part of the cores of the smallest machine."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    num_gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    if device == "cuda" or (device == "auto" and num_gpus):
        return Share(num_workers or max(num_gpus, 1), num_cpus=1, num_gpus=1)
    if not machines:
        raise UserError("the cluster has no machine with processor cores for Ray; start one with ray start")
    cores = [int(machine["CPU"]) for machine in machines]
    number = num_workers or len(machines)
    return Share(number, max(1, min(min(cores), sum(cores) // number)), num_gpus=0)


@contextmanager
def _one_line() -> Iterator[None]:
    """What Ray raises, in one line; what is safe stays so."""
    try:
        yield
    except RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the cluster gave up: {reason}; the same command goes on after what is safe") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's progress and its warnings about itself from standard error."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
