"""Serves `Trainers`: forks a process for each command line it reads, which counts events and signals itself at one.

An event is a moment of a run between two of which a kill may fall: before and after a step, a line of the journal, a
tensor written, an fsync, and each opening, renaming, making or removing of a file or folder of the run.
"""

import contextlib
import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openankh import cli
from openankh.pretraining import tensor_file, training_run
from openankh.pretraining.journal import Journal
from openankh.pretraining.trainer import Trainer
from training_samples import pretrain_arguments

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


def be_a_trainer(arguments: list[str], signal: int, at_event: int, report: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    events = Events(signal, at_event)
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
        reading, report = os.pipe()
        if (child := os.fork()) == 0:
            arguments, signal, at_event = json.loads(line)
            be_a_trainer(arguments, signal, at_event, report)
        os.close(report)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as told:
            num_events = int(told.read() or 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), num_events]), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
