"""Runs of writers in forked processes that are killed, or whose disk is full, at a chosen step or moment.

`FaultyRuns` starts this file as a process, which imports what is slow once and forks a child for each run. A step is an
fsync, or an opening for writing, renaming, making or removing of a file or folder below the folder that is watched.
"""

import itertools
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOTHING, KILL, FULL = "nothing", "kill", "full"
CHANGING = {"os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.link": 1}
FREEING = ("os.remove", "os.rmdir")


@dataclass(frozen=True)
class Ending:
    """How a run ended: exit code, negative when a signal ended it; how many steps it took; what it told."""

    code: int
    num_steps: int
    errors: str


class FaultyRuns:
    """Runs of `openankh`, or with `of_writer` of `write_made_up` below, one after the other."""

    def __init__(self, of_writer: bool = False) -> None:
        command = [sys.executable, "-W", "ignore", __file__, "writer" if of_writer else "openankh"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._server = subprocess.Popen(command, env=environment, **pipes)

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(
        self, arguments: Sequence[object], under: Path, fault: str = NOTHING, at: int = 0, seconds: float | None = None
    ) -> Ending:
        """Run, with a fault at step `at` of those below `under`, or killed after so many seconds."""
        assert self._server.stdin and self._server.stdout
        job = [list(map(str, arguments)), str(under), fault, at, seconds]
        print(json.dumps(job), file=self._server.stdin, flush=True)
        return Ending(*json.loads(self._server.stdout.readline()))


def write_made_up(arguments: list[str]) -> int:
    """Write or continue a store of 40 made-up proteins at a path, `--overwrite` one where wanted."""
    from embedding_samples import embeddings, provenance
    from openankh.cli.report import error as told
    from openankh.errors import UserError
    from openankh.store import ShardLimits, sole_writer
    from openankh.store.writer import writing_store

    of = provenance()
    made = embeddings([f"P{number}" for number in range(40)], of)
    target = Path(arguments[0])
    try:
        with (
            sole_writer(target),
            writing_store(target, of, limits=ShardLimits(num_residues=60), overwrite="--overwrite" in arguments) as out,
        ):
            for start in range(out.num_done, len(made), 3):
                out.write(made[start : start + 3])
            out.finish("a" * 64)
    except UserError as error:
        told(str(error))
        return 2
    return 0


class Steps:
    """Counts the steps of this process and lets the fault befall one of them, or a full disk all that follow."""

    def __init__(self, under: str, fault: str, at: int, report: int) -> None:
        self._under, self._fault, self._at, self._report = under, fault, at, report
        self._numbers = itertools.count(1)

    def watch(self) -> None:
        """From here on."""
        # What a killed process has written the system keeps: only a power cut would tell whether it was made durable.
        os.fsync = lambda descriptor: self._step(frees=False)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = details
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        elif event in CHANGING:
            path, writes = details[CHANGING[event]], True
        else:
            return
        if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._under):
            self._step(frees=event in FREEING)

    def _step(self, frees: bool) -> None:
        number = next(self._numbers)
        os.pwrite(self._report, b"%9d" % number, 0)
        if self._fault == KILL and number == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == FULL and number >= self._at and not frees:
            raise OSError(28, os.strerror(28))


def _serve(main: Callable[[list[str]], int]) -> None:
    for line in sys.stdin:
        arguments, under, fault, at, seconds = json.loads(line)
        report, errors = os.memfd_create("steps"), os.memfd_create("errors")
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors, 2)
            Steps(under, fault, at, report).watch()
            code = 1
            try:
                code = main(arguments)
                sys.stderr.flush()
            finally:
                os._exit(code)
        descriptor = os.pidfd_open(child)
        if not select.select([descriptor], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        told = os.pread(errors, 100_000, 0).decode()
        print(json.dumps([os.waitstatus_to_exitcode(status), int(os.pread(report, 9, 0) or 0), told]), flush=True)
        for open_file in (descriptor, report, errors):
            os.close(open_file)


def _main_of_openankh() -> Callable[[list[str]], int]:
    """The command with small shards, once what is slow the first time was done."""
    import tempfile

    import torch

    import openankh
    from openankh import cli
    from openankh.store import ShardLimits, target

    torch.set_num_threads(1)
    real = getattr(target, "writing_store")  # noqa: B009
    limits = ShardLimits(num_residues=1_500)
    setattr(target, "writing_store", lambda path, of, **others: real(path, of, **{**others, "limits": limits}))  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(openankh.__file__).parent / "data" / "demo.fasta"
        text = fasta.read_text().split(">")[1]
        (Path(folder) / "one.fasta").write_text(f">{text}")
        assert cli.main(["embed", f"{folder}/one.fasta", "-o", f"{folder}/out", "--quiet"]) == 0
    return cli.main


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve(write_made_up if sys.argv[1] == "writer" else _main_of_openankh())
