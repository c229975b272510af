"""The options of `openankh embed` that let many workers do it: devices of this machine, or a Ray cluster."""

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from openankh.cli.embedding_progress import OnBegin, OnProgress
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.embedding.run import EmbedSummary
    from openankh.fleet.job import Job
    from openankh.fleet.run import Crew, Destination, FleetRun

_WHERE = Group("Many workers", sort_key=3)

Devices = Annotated[
    str | None,
    Parameter(
        name="--devices",
        group=_WHERE,
        help="all, or names: 0,1 or cuda:0,cuda:1 or cpu,cpu; a worker process each. Default: all GPUs there are.",
    ),
]
Ray = Annotated[
    str | None,
    Parameter(
        name="--ray",
        group=_WHERE,
        help="auto or HOST:PORT: the workers of that Ray cluster; local: of one started here.",
    ),
]
RayWorkers = Annotated[
    int | None,
    Parameter(name="--ray-workers", group=_WHERE, help="How many; default: one a GPU, or without GPUs one a machine."),
]


@dataclass(frozen=True)
class Workers:
    """Who embeds: the devices of this machine, or the workers of the Ray cluster at an address."""

    devices: tuple[str, ...]
    address: str | None = None
    number: int | None = None

    @property
    def is_one(self) -> bool:
        """Whether it is one device of this machine: this process then embeds by itself."""
        return self.address is None and len(self.devices) == 1

    @property
    def shown(self) -> str:
        """Who, for people."""
        return ",".join(self.devices) if self.address is None else f"ray {self.address}"

    def crew(self, job: "Job") -> "AbstractContextManager[Crew]":
        """The workers themselves, loading the model."""
        if self.address is None:
            from openankh.fleet.device_workers import DeviceWorkers

            return DeviceWorkers(job, self.devices)
        _prepare_ray()
        from openankh.fleet.ray_cluster import RayCluster

        return RayCluster(job, self.address, self.number, self.devices[0])


def check_options(device: str, devices: str | None, ray: str | None, ray_workers: int | None) -> None:
    """Refuse, before any work, options that do not go together, and a missing Ray."""
    if ray is None:
        if ray_workers is not None:
            raise UserError("--ray-workers: needs --ray ADDRESS or --ray local")
        return
    if devices is not None:
        raise UserError("--devices: of this machine alone; with --ray use --ray-workers")
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: with --ray give auto, cpu or cuda")
    if ray_workers is not None and ray_workers < 1:
        raise UserError(f"--ray-workers {ray_workers}: must be at least 1")
    if ray.startswith("ray://"):
        raise UserError(f"--ray {ray}: run on a machine of the cluster, with --ray auto, or by ray job submit")
    for library in ("ray", "pyarrow", "pandas"):
        if importlib.util.find_spec(library) is None:
            raise UserError(f'--ray: needs {library}, which is not installed; run: pip install "openankh[ray]"')
    from openankh.fleet.address import require_reachable

    require_reachable(ray)


def choose_workers(device: str, devices: str | None, ray: str | None, ray_workers: int | None) -> Workers:
    """Who embeds, by options that go together; UserError for devices that are not there."""
    from openankh.fleet.devices import choose_devices

    if ray is None:
        return Workers(choose_devices(devices, device))
    return Workers((device,), ray, ray_workers)


def choose_destination(output: str, overwrite: bool) -> "Destination":
    """Where the output goes: a place on this machine, checked, or a URL."""
    from openankh.fleet.url_folder import UrlFolder, is_url
    from openankh.store import parse_target

    return UrlFolder(output.rstrip("/")) if is_url(output) else parse_target(output, overwrite)


def locked(destination: "Destination") -> AbstractContextManager[None]:
    """The lock of an output on this machine; behind a URL none can be held."""
    from openankh.fleet.url_folder import UrlFolder
    from openankh.store import sole_writer

    return nullcontext() if isinstance(destination, UrlFolder) else sole_writer(destination.path)


@dataclass(frozen=True)
class ManyWorkers:
    """Lets workers embed a whole input."""

    workers: Workers
    job: "Job"
    run: "FleetRun"

    def embed(self, on_progress: OnProgress, on_begin: OnBegin) -> "EmbedSummary":
        """Embed the whole input, telling what is to be done and how far it is."""
        job = self.job
        if self.workers.address is not None:
            if self.run.survey is None:
                raise UserError(f"--ray: {self.run.reader.name} is read by another process; save it to a file")
            # A worker on another machine knows nothing of the folder that this process stands in.
            job = replace(job, model=str(Path(job.model).absolute())) if Path(job.model).is_dir() else job
        with self.workers.crew(job) as crew:
            return self.run.embed(crew, on_progress, on_begin)

    def what_is_safe(self) -> str:
        """What is there of a run that was stopped, and how to go on."""
        if self.run.survey is None:
            return "nothing was written; a stream is not gone on with, save it to a file"
        if not self.run.num_safe:
            return "no part of the output was whole yet; the same command begins again"
        return f"{self.run.num_safe:,} proteins are safe; the same command goes on after them"


def _prepare_ray() -> None:
    """Settings that Ray reads when it is imported: no tips on standard error, nothing sent home."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
