"""A disk that runs full at every file call of every command that writes embeddings or corpora, and really small disks.

Each time: one line with the bytes needed and free, exit code 2, nothing that looks whole and is not, what stood there
before untouched; and once there is room the same command ends with the same bytes as a run that nothing befell.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forked_runs import FULL, KILL, Fault, ForkedRuns
from real_proteins import write_proteins
from trials import Campaign, Contents, Tally, contents, others, trial_folder

SHARD_RESIDUES = 3_000
NUM_PROTEINS = 40
OTHER_DISK = Path("/dev/shm")
ONE_LINE = re.compile(
    r"error: cannot write \S+: (no space left on device|file too large) "
    r"\((more than )?[\d,]+ (more )?bytes needed, [\d,]+ free\); .+\n"
)


@dataclass(frozen=True)
class Writer:
    """A command that writes: what it is called, its words for a target, the target's name, calls tried at most."""

    name: str
    target: str
    arguments: Callable[[Path], Sequence[object]]
    max_calls: int = 1_000


class Inputs:
    """What the commands read: proteins, a store of them, and two stores to merge."""

    def __init__(self, runs: ForkedRuns, folder: Path) -> None:
        self.fasta, self.store, self.parts = folder / "proteins.fasta", folder / "store", []
        write_proteins(self.fasta, NUM_PROTEINS)
        self._embed(runs, folder, self.fasta, self.store)
        for number in (1, 2):
            part = folder / f"part-{number}"
            write_proteins(folder / f"{number}.fasta", NUM_PROTEINS // 2, seed=number)
            self._embed(runs, folder, folder / f"{number}.fasta", part)
            self.parts.append(part)

    def _embed(self, runs: ForkedRuns, folder: Path, fasta: Path, store: Path) -> None:
        outcome = runs.run(["embed", fasta, "-o", store, "--quiet"], folder)
        assert outcome.code == 0, outcome.errors


def writers(inputs: Inputs) -> Iterator[Writer]:
    """Every command that writes embeddings or corpora."""
    yield Writer("embed, a store", "out", lambda out: ["embed", inputs.fasta, "-o", out, "--quiet"])
    for suffix in ("h5", "parquet", "npz"):
        name = f"out.{suffix}"
        yield Writer(f"embed, .{suffix}", name, lambda out: ["embed", inputs.fasta, "-o", out, "--quiet"], 30)
        yield Writer(f"store export, .{suffix}", name, lambda out: ["store", "export", inputs.store, out, "--quiet"])
    yield Writer("store export, a store", "out", lambda out: ["store", "export", inputs.store, f"{out}/", "--quiet"])
    yield Writer("store merge, linking", "out", lambda out: ["store", "merge", *inputs.parts, "-o", out, "--quiet"])
    yield Writer("prepare", "out", lambda out: ["prepare", inputs.fasta, "-o", out, "--holdout", "0.2", "--quiet"])


class FaultTrials:
    """One command, a fault at each of its calls."""

    def __init__(self, runs: ForkedRuns, writer: Writer, tally: Tally) -> None:
        self.runs, self.writer, self.tally = runs, writer, tally
        with trial_folder() as folder:
            outcome = runs.run(writer.arguments(folder / writer.target), folder)
            assert outcome.code == 0, outcome.errors
            self.num_calls, self.whole = outcome.num_calls, self._contents(folder)

    def _contents(self, folder: Path) -> Contents:
        found = contents(folder / self.writer.target)
        # A corpus's manifest tells when it was made.
        is_dated = self.writer.name == "prepare"
        return {name: sha256 for name, sha256 in found.items() if not (is_dated and name == "manifest.json")}

    def at_every_call(self, kind: int) -> None:
        """The fault at each call, or at as many as are wanted, evenly spread."""
        step = max(self.num_calls // self.writer.max_calls, 1)
        for call in range(1, self.num_calls + 1, step):
            with trial_folder() as folder:
                self._trial(folder, Fault(kind, at=call))

    def _trial(self, folder: Path, fault: Fault) -> None:
        target = folder / self.writer.target
        arguments = self.writer.arguments(target)
        outcome = self.runs.run(arguments, folder, fault)
        where = f"{self.writer.name}, {fault}"
        found = self._contents(folder)
        self.tally.check(found in ({}, self.whole), f"{where}: {len(found)} files at the target, not the whole")
        if outcome.code == 0:
            # The last calls take away the lock, which needs no room; and no file may be as large as was allowed.
            self.tally.check(fault.at == 0 or fault.at >= self.num_calls - 1, f"{where}: no error")
            self.tally.check(found == self.whole, f"{where}: no error and other bytes")
            return
        self.tally.count(self.writer.name)
        if fault.kind != KILL:
            self.tally.check(outcome.code == 2, f"{where}: exit code {outcome.code}")
            self.tally.check(bool(ONE_LINE.fullmatch(outcome.errors)), f"{where}: said {outcome.errors!r}")
            left = [name for name in others(folder, target) if name != f"{target.name}.partial"]
            self.tally.check(left == [], f"{where}: left {left}")
        if found == {}:
            again = self.runs.run(arguments, folder)
            self.tally.check(again.code == 0, f"{where}: afterwards {again.errors!r}")
        self.tally.check(self._contents(folder) == self.whole, f"{where}: other bytes in the end")
        self.tally.check(others(folder, target) == [], f"{where}: left {others(folder, target)} in the end")

    def with_small_files(self) -> None:
        """A limit of the system on the size of a file, at a tenth, half and nine tenths of the largest one."""
        with trial_folder() as folder:
            self.runs.run(self.writer.arguments(folder / self.writer.target), folder)
            files = [folder / self.writer.target, *(folder / self.writer.target).rglob("*")]
            largest = max(file.stat().st_size for file in files if file.is_file())
        for tenths in (1, 5, 9):
            with trial_folder() as folder:
                self._trial(folder, Fault(file_bytes=largest * tenths // 10))

    def on_small_disks(self, disk: Path, resize: Callable[[int], None], num_sizes: int) -> None:
        """A disk of its own, from far too small to nearly large enough."""
        with trial_folder(disk) as folder:
            resize(64 << 20)
            self.runs.run(self.writer.arguments(folder / self.writer.target), folder)
            needed = _used(disk)
        for number in range(num_sizes):
            with trial_folder(disk) as folder:
                resize(_used(disk) + needed * number // num_sizes)
                self._on_small_disk(folder, resize)

    def _on_small_disk(self, folder: Path, resize: Callable[[int], None]) -> None:
        target = folder / self.writer.target
        outcome = self.runs.run(self.writer.arguments(target), folder)
        resize(64 << 20)
        found = self._contents(folder)
        where = f"{self.writer.name} on a small disk"
        self.tally.check(found in ({}, self.whole), f"{where}: {len(found)} files at the target, not the whole")
        if outcome.code == 0:
            return
        self.tally.count(self.writer.name)
        self.tally.check(outcome.code == 2, f"{where}: exit code {outcome.code}")
        self.tally.check(bool(ONE_LINE.fullmatch(outcome.errors)), f"{where}: said {outcome.errors!r}")
        again = self.runs.run(self.writer.arguments(target), folder)
        self.tally.check(
            again.code == 0 and self._contents(folder) == self.whole, f"{where}: afterwards {again.errors}"
        )


def faults_at_every_call() -> Iterator[Campaign]:
    """Full disks at every call, kills at every call but of embed into a store, which has a campaign of its own."""
    full, killed, limited = Tally(), Tally(), Tally()
    with ForkedRuns(SHARD_RESIDUES) as runs, trial_folder() as folder:
        inputs = Inputs(runs, folder)
        for writer in writers(inputs):
            trials = FaultTrials(runs, writer, full)
            trials.at_every_call(FULL)
            trials.tally = limited
            trials.with_small_files()
            if writer.name != "embed, a store":
                trials.tally = killed
                trials.at_every_call(KILL)
            print(writer.name, full.counts.get(writer.name), killed.counts.get(writer.name), flush=True)
    every = "At each file call of a command (of `embed` into a file, at some 30 of them)"
    yield Campaign(
        "A disk that is full from each file call on",
        f"{every} ENOSPC, from then on, the write that meets it arriving by half: exit code 2, one line with the bytes "
        "needed and free, nothing half-way at the target or beside it; with room the same command ends with the same "
        "bytes.",
        full,
    )
    yield Campaign(
        "Files that may not grow", "The same with RLIMIT_FSIZE at 1/10, 5/10, 9/10 of the largest file.", limited
    )
    yield Campaign(
        "A kill at each file call of exports, merges and preparations",
        f"{every} SIGKILL: nothing half-way at the target; the same command again ends with the same bytes and removes "
        "what the killed one left.",
        killed,
    )


def small_disks(num_sizes: int = 12) -> Campaign | None:
    """A file system of its own made smaller and smaller; None where this process may mount none."""
    tally = Tally()
    with ForkedRuns(SHARD_RESIDUES) as runs, trial_folder() as folder, _own_disk(folder / "disk") as resize:
        if resize is None:
            return None
        inputs = Inputs(runs, folder)
        for writer in writers(inputs):
            FaultTrials(runs, writer, tally).on_small_disks(folder / "disk", resize, num_sizes)
            print(writer.name, tally.counts.get(writer.name), flush=True)
    what = f"The commands on a tmpfs of their own, of {num_sizes} sizes from nothing to nearly enough; then of 64 MiB."
    return Campaign("Really small disks", what, tally)


@contextmanager
def _own_disk(folder: Path) -> Iterator[Callable[[int], None] | None]:
    """A tmpfs at `folder`, and how to change its size."""
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode:
        yield None
        return
    try:
        yield (
            lambda size: subprocess.run(["mount", "-o", f"remount,size={max(size, 4096)}", folder], check=True) and None
        )
    finally:
        subprocess.run(["umount", folder], check=True)


def _used(disk: Path) -> int:
    return shutil.disk_usage(disk).used
