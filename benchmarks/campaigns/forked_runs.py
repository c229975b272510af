"""Runs of the command `openankh` that are killed, or whose disk fills, at a chosen moment or call.

`ForkedRuns` starts this file as a process of its own, which imports the package once and then forks a child for each
run: a run takes as long as its work, without the seconds that importing takes. The child's file calls pass through
`faults.c` (see there), which a C compiler must make first.
"""

import ctypes
import json
import mmap
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
COUNT, KILL, FULL = 0, 1, 2


@dataclass(frozen=True)
class Fault:
    """What befalls a run: nothing, SIGKILL after `seconds` or at call `at`, or a full disk from call `at` on.

    `file_bytes` is a limit of the system on the size of a file.
    """

    kind: int = COUNT
    at: int = 0
    seconds: float | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, negative when killed, the calls it made, seconds, what it said."""

    code: int
    num_calls: int
    seconds: float
    output: str
    errors: str

    @property
    def is_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


class ForkedRuns:
    """A context in which command lines are run, one at a time, each in a forked process.

    `shard_residues` makes the shards of stores small, so that a short run has many.
    """

    def __init__(self, shard_residues: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "faults.so"
        compiler = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"]
        subprocess.run(compiler, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "forked_runs.py"), str(library), str(shard_residues or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "ForkedRuns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait()
        self._folder.cleanup()

    def run(self, arguments: Sequence[object], under: Path, fault: Fault = Fault()) -> Outcome:
        """Run `openankh ARGUMENTS`; calls are counted on files below the folder `under`."""
        assert self._server.stdin and self._server.stdout
        job = {"arguments": list(map(str, arguments)), "under": str(under), "fault": asdict(fault)}
        print(json.dumps(job), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))


def drawn_kill(generator: random.Random, seconds: float, num_calls: int) -> Fault:
    """A kill at a random moment of a run of so many seconds, or as often at a random one of its file calls."""
    if generator.random() < 0.5:
        return Fault(KILL, seconds=generator.uniform(0, 1.1 * seconds))
    return Fault(KILL, at=generator.randint(1, num_calls))


def _serve(library: str, shard_residues: int) -> None:
    for name in ("cli.embed", "cli.store", "cli.prepare", "preparation", "loaded", "embedding.run", "store.merging"):
        import_module(f"openankh.{name}")
    for name in ("torch", "h5py", "pyarrow.parquet"):
        import_module(name)
    if shard_residues:
        _make_shards_small(shard_residues)
    counter = mmap.mmap(-1, 8)
    for line in sys.stdin:
        counter[:] = bytes(8)
        print(json.dumps(_in_child(json.loads(line), library, counter)), flush=True)


def _make_shards_small(num_residues: int) -> None:
    from openankh.store import ShardLimits, target

    real, limits = getattr(target, "writing_store"), ShardLimits(num_residues=num_residues)  # noqa: B009
    small = lambda path, of, **options: real(path, of, **{**options, "limits": limits})  # noqa: E731
    setattr(target, "writing_store", small)  # noqa: B010


def _in_child(job: dict, library: str, counter: mmap.mmap) -> dict:
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if child == 0:
            _be_the_command(job, library, counter, output.fileno(), errors.fileno())
        seconds, status = _wait(child, job["fault"]["seconds"])
        for file in (output, errors):
            file.seek(0)
        code = os.waitstatus_to_exitcode(status)
        num_calls = int.from_bytes(counter[:4], "little")
        said = {"output": output.read(), "errors": errors.read()}
        return {"code": code, "num_calls": num_calls, "seconds": seconds, **said}


def _wait(child: int, seconds: float | None) -> tuple[float, int]:
    """Wait for a child, or kill it after so many seconds; (seconds it ran, its status)."""
    started = time.perf_counter()
    descriptor = os.pidfd_open(child)
    if not select.select([descriptor], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(descriptor)
    _, status = os.waitpid(child, 0)
    return time.perf_counter() - started, status


def _be_the_command(job: dict, library: str, counter: mmap.mmap, output: int, errors: int) -> None:
    from openankh import cli

    fault = Fault(**job["fault"])
    os.dup2(output, 1)
    os.dup2(errors, 2)
    if fault.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, fault.file_bytes))
    calls = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(counter)))
    kind = fault.kind if fault.at else COUNT
    ctypes.CDLL(library).faults_arm(job["under"].encode(), kind, fault.at, calls, -1)
    code = 1
    try:
        code = cli.main(job["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
