"""Workers on devices of this machine: one process each, parts dealt out as they ask for them, the dead replaced.

A process of its own for each device, started anew rather than forked, so that no GPU's state is shared and one that
dies takes nothing along. What it had in hand goes to another.
"""

import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from openankh.errors import UserError
from openankh.fleet.job import Failed, Job, Setup
from openankh.fleet.landing import Landed, Landing
from openankh.fleet.messages import FromWorker, Progress, Ready, Start
from openankh.fleet.parts import Part, PartSource

OnProgress = Callable[[int, int], None]

MAX_DEATHS = 3
"""Workers that may die with the same part in hand, or while they load, before that is no accident."""

_SECONDS_TO_END = 10


@dataclass(eq=False)
class _Process:
    """A worker process and the parts that it has in hand, in the order given."""

    device: str
    process: subprocess.Popen[bytes]
    connection: Connection
    parts: list[Part] = field(default_factory=list)
    is_ready: bool = False

    @classmethod
    def start(cls, start: Start) -> "_Process":
        ours, theirs = Pipe()
        with theirs:
            # The same modules as here, but nothing that lies about where the user stands.
            paths = os.pathsep.join(path for path in sys.path if path)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "openankh.fleet.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
            )
        worker = cls(start.device, process, ours)
        worker.send(start)
        return worker

    def send(self, message: Start | Landing | Part) -> None:
        """Tell it; if it has died, that shows when it is listened to."""
        with suppress(OSError):
            self.connection.send(message)

    def end(self) -> str:
        """Let it end, and say how it did."""
        self.connection.close()
        try:
            code = self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


class DeviceWorkers:
    """A worker on each of `devices`, loading from the moment this is made; leave the block to end them."""

    def __init__(self, job: Job, devices: Sequence[str]) -> None:
        self._job = job
        self._num_threads = max(1, min(num_cores() // len(devices), _most_threads()))
        self._setup: Setup | None = None
        self._landing: Landing | None = None
        self._again: deque[Part] = deque()
        self._deaths: Counter[int | str] = Counter()
        self._workers = [self._start(device, is_first=not number) for number, device in enumerate(devices)]

    def __enter__(self) -> "DeviceWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()

    def setup(self) -> Setup:
        """What the first worker that is ready has found."""
        while self._setup is None:
            for worker, message in self._heard():
                self._note(worker, message)
        return self._setup

    def run(self, source: PartSource, landing: Landing, on_progress: OnProgress) -> Iterator[Landed]:
        """Let the workers make every part of the source; yields each one's shard once, as soon as it is durable.

        `on_progress` is told the proteins and residues embedded so far, those of parts in hand included.
        """
        self._landing = landing
        for worker in self._workers:
            worker.send(landing)
        tally = _Tally(on_progress)
        ahead = _Ahead(source.parts(), len(self._workers))
        while self._deal(ahead):
            for worker, message in self._heard():
                if isinstance(message, Landed):
                    part = next(part for part in worker.parts if part.number == message.number)
                    worker.parts.remove(part)
                    tally.add(part)
                    yield message
                elif isinstance(message, Progress):
                    tally.reach(message)
                else:
                    self._note(worker, message)

    def _deal(self, ahead: "_Ahead") -> bool:
        """Give out parts; False when none is left and no worker has any.

        A worker with one in hand gets its next already, while there are enough left for the others.
        """
        for depth in (1, 2):
            for worker in self._workers:
                is_wanted = len(worker.parts) < depth and (depth == 1 or ahead.is_full)
                part = (self._again.popleft() if self._again else ahead.next()) if is_wanted else None
                if part is not None:
                    worker.parts.append(part)
                    worker.send(part)
        return any(worker.parts for worker in self._workers)

    def _heard(self) -> Iterator[tuple[_Process, FromWorker]]:
        """What the workers say, one message of each that has something to say; the dead are replaced."""
        speaking = wait([worker.connection for worker in self._workers])
        for worker in [worker for worker in self._workers if worker.connection in speaking]:
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker)
            else:
                yield worker, message

    def _note(self, worker: _Process, message: FromWorker) -> None:
        if isinstance(message, Failed):
            raise message.error(worker.device)
        assert isinstance(message, Ready)
        worker.is_ready = True
        self._setup = self._setup or message.setup
        self._setup.require_same(message.setup, f"device {worker.device}")

    def _start(self, device: str, is_first: bool = False) -> _Process:
        worker = _Process.start(Start(self._job, device, self._num_threads, is_first))
        if self._landing is not None:
            worker.send(self._landing)
        return worker

    def _replace(self, worker: _Process) -> None:
        """Start another in the place of a dead worker, and let what it had in hand be done again."""
        how = worker.end()
        self._workers[self._workers.index(worker)] = self._start(worker.device)
        self._again.extend(worker.parts)
        key = worker.parts[0].number if worker.is_ready and worker.parts else worker.device
        self._deaths[key] += 1
        if self._deaths[key] < MAX_DEATHS:
            return
        where = worker.parts[0].shown if isinstance(key, int) else f"device {worker.device}"
        raise UserError(
            f"{where}: {MAX_DEATHS} workers ended one after the other, the last {how}; "
            "if memory ran out, use fewer devices or a smaller --max-tokens"
        )


class _Ahead:
    """Parts read ahead, as many as there are workers, so that it is known when the input comes to its end."""

    def __init__(self, parts: Iterator[Part], size: int) -> None:
        self._parts, self._size = parts, size
        self._read: deque[Part] = deque()

    @property
    def is_full(self) -> bool:
        """Whether there is a part for each worker."""
        while len(self._read) < self._size:
            part = next(self._parts, None)
            if part is None:
                return False
            self._read.append(part)
        return True

    def next(self) -> Part | None:
        """The next part, None after the last."""
        return self._read.popleft() if self._read else next(self._parts, None)


class _Tally:
    """Proteins and residues done: of whole parts, and so far of parts in hand."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._whole = (0, 0)
        self._begun: dict[int, tuple[int, int]] = {}

    def add(self, part: Part) -> None:
        """A part is done."""
        self._begun.pop(part.number, None)
        self._whole = (self._whole[0] + len(part.records), self._whole[1] + part.num_residues)
        self._tell()

    def reach(self, progress: Progress) -> None:
        """A part is so far; one done again begins anew."""
        self._begun[progress.number] = (progress.num_records, progress.num_residues)
        self._tell()

    def _tell(self) -> None:
        begun = self._begun.values()
        self._on_progress(
            self._whole[0] + sum(records for records, _ in begun),
            self._whole[1] + sum(residues for _, residues in begun),
        )


def num_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _most_threads() -> int:
    """What the user allows a process by OMP_NUM_THREADS."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(wanted) if wanted.isdecimal() else num_cores()
