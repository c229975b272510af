"""Serves `Trainers`: forks a process for each command line it reads, which counts events and signals itself at one.

An event is a moment of a run between two of which a kill may fall: before and after a step, a line of the journal, a
tensor written, an fsync, and each opening, renaming, making or removing of a file or folder of the run.
"""

import contextlib
import io
import itertools
import json
import math
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openankh import cli
from openankh.pretraining import tensor_file, training_run
from openankh.pretraining.journal import Journal
from openankh.pretraining.trainer import Trainer
from training_samples import poison, pretrain_arguments

GRACE_SECONDS = 5.0
FILE_EVENTS = frozenset(("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"))


class Events:
    """Counts events, in all threads."""

    def __init__(self, signal: int, at_event: int):
        self.signal, self.at_event = signal, at_event
        self.numbers = itertools.count(1)
        self.last = 0

    def happen(self) -> None:
        self.last = next(self.numbers)
        if self.last == self.at_event:
            os.kill(os.getpid(), self.signal)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.happen()
            result = function(*arguments, **named)
            self.happen()
            return result

        return call

    def watch(self, run: str) -> None:
        Trainer.update = self.around(Trainer.update)
        Journal._append = self.around(Journal._append)
        tensor_file._bytes_of = self.around(tensor_file._bytes_of)
        os.fsync = self.around(os.fsync)
        sys.addaudithook(lambda event, details: self.happen() if is_of_run(event, details, run) else None)


def is_of_run(event: str, details: tuple[Any, ...], run: str) -> bool:
    return event in FILE_EVENTS and isinstance(details[0], str | os.PathLike) and run in os.fspath(details[0])


def be_a_trainer(arguments: list[str], signal_number: int, at_event: int, report: int) -> None:
    if poisoned := os.environ.get("POISONED_POSITIONS"):
        poison({int(position): math.nan for position in poisoned.split()})
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    events = Events(signal_number, at_event)
    events.watch(arguments[arguments.index("--out") + 1])
    code = cli.main(arguments)
    os.write(report, str(events.last).encode())
    os._exit(code)


def warm_up(corpus: Path) -> None:
    """Do once what is slow when it is done first, so that the forked ones need not."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(pretrain_arguments(corpus, Path(folder) / "run", "--quiet")) == 0


def serve(corpus: Path) -> None:
    torch.set_num_threads(1)
    # The only part of a run that takes its time on purpose.
    setattr(training_run, "measured_peak", lambda device, dtype: 1e11)  # noqa: B010
    warm_up(corpus)
    for line in sys.stdin:
        print(json.dumps(run_ranks(*json.loads(line))), flush=True)


def run_ranks(
    arguments: list[str], signal_number: int, at_event: int, num_ranks: int, guilty: int, after_seconds: float
) -> list[list[int]]:
    """Fork the ranks of a run, `guilty` being the one that signals itself; each one's exit code and events.

    With `after_seconds` it is signalled from outside, by the clock.
    """
    children: list[tuple[int, int]] = []
    port = free_port() if num_ranks > 1 else 0
    for rank in range(num_ranks):
        reading, report = os.pipe()
        if (child := os.fork()) == 0:
            if num_ranks > 1:
                place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": num_ranks, "RANK": rank}
                os.environ.update({name: str(value) for name, value in place.items()})
            be_a_trainer(arguments, signal_number, at_event if rank == guilty else 0, report)
        os.close(report)
        children.append((child, reading))
    ids = [child for child, _ in children]
    supervise(ids, ids[guilty], signal_number if after_seconds else 0, time.monotonic() + after_seconds)
    return [ended(child, reading) for child, reading in children]


def supervise(children: list[int], guilty: int, signal_number: int, when: float) -> None:
    """As torchrun does: when one process fails, the others have a moment to end by themselves, then are killed.

    A process that still runs at that moment, `guilty`, is sent a signal, where one is given.
    """
    running, deadline = set(children), float("inf")
    while running:
        if signal_number and guilty in running and time.monotonic() >= when:
            os.kill(guilty, signal_number)
            signal_number = 0
        for child in list(running):
            if (result := os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                running.remove(child)
                if result.si_status:
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        if time.monotonic() > deadline:
            for child in running:
                os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.01)


def ended(child: int, reading: int) -> list[int]:
    """Wait for a process: its exit code, as `os.waitstatus_to_exitcode` gives it, and how many events it counted."""
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        return [os.waitstatus_to_exitcode(status), int(told.read() or 0)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
