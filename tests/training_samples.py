"""A corpus and recipe small enough to train in a second, what identifies the end of a run, processes to be killed."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openankh import cli
from openankh.corpus import Corpus
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining import rank_loss
from openankh.pretraining.objective_loss import batch_loss
from openankh.pretraining.recipes import Recipe, recipe_named
from openankh.selection import Selection
from openankh.vocab import Vocab, openankh_vocab

TESTS = Path(__file__).parent
TINY = (
    "model.d_model=16", "model.d_ff=32", "model.d_kv=8", "packing.tokens=256", "packing.crop=64", "valid_tokens=400",
    "warmup_steps=2", "total_steps=12", "valid_every=5", "checkpoint_every=3",
)  # fmt: skip
"""Settings that make `micro` smaller still."""


def tiny_recipe(*changes: str) -> Recipe:
    """`micro` with TINY and further changes."""
    return recipe_named("micro", [*TINY, *changes])


def prepare_sample(folder: Path, vocab: Vocab | None = None) -> Path:
    """A corpus of the fifty proteins of sample.fasta, a fifth of them held out."""
    options = PrepareOptions(vocab=vocab or openankh_vocab(), selection=Selection(holdout=0.2))
    prepare([TESTS / "data" / "sample.fasta"], folder, options)
    return folder


def sample_corpus(folder: Path) -> Corpus:
    """The training split of `prepare_sample`."""
    return Corpus.open(prepare_sample(folder))


def pretrain_arguments(corpus: Path, run: Path, *more: str) -> list[str]:
    """The command line of a tiny run; that its code is being edited meanwhile is no fault of a test's."""
    folders = ["--corpus", str(corpus), "--out", str(run), "--device", "cpu", "--changed-code", "tell"]
    return ["pretrain", "micro", *TINY, *folders, *more]


def journal_without_timing(run: Path) -> list[dict[str, Any]]:
    """What the same run gives again, line by line."""
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "timing"} for line in lines]


def fingerprint(run: Path) -> dict[str, str]:
    """SHA-256 of all that a run leaves and that no clock decides."""
    newest = max((run / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())
    del state["facts"]["seconds"], state["facts"]["tallies"]["earlier_seconds"]
    contents = {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
    contents["best"] = (run / "best" / "model.safetensors").read_bytes()
    contents["state"] = json.dumps([newest.name, state]).encode()
    contents["journal"] = json.dumps(journal_without_timing(run)).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def poison(positions: Mapping[int, float]) -> None:
    """From now on multiply the loss of the batches that begin at these positions."""

    def poisoned(model, pairs, *arguments):
        sums = batch_loss(model, pairs, *arguments)
        factor = positions.get(getattr(pairs, "position", -1), 1.0)  # a validation's batches have none
        return replace(sums, weighted=sums.weighted * factor, total=sums.total * factor)

    setattr(rank_loss, "batch_loss", poisoned)  # noqa: B010


class Trainers:
    """Runs command lines, each in a fresh process forked from one that has imported torch."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process

    def run(self, arguments: Sequence[str], signal: int = 0, at_event: int = 0) -> tuple[int, int]:
        """Exit status as `os.waitpid` decodes it (minus the signal that killed), and the number of events counted.

        At event number `at_event` the process sends itself `signal`.
        """
        ((code, num_events),) = self.run_ranks(arguments, 1, signal, at_event)
        return code, num_events

    def run_ranks(
        self,
        arguments: Sequence[str],
        num_ranks: int,
        signal: int = 0,
        at_event: int = 0,
        guilty: int = 0,
        after_seconds: float = 0.0,
    ) -> list[tuple[int, int]]:
        """The same for several processes that train together; the one of rank `guilty` is signalled.

        With `after_seconds` it is signalled so long after the beginning, whatever it does.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = [list(arguments), signal, at_event, num_ranks, guilty, after_seconds]
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return [(code, num_events) for code, num_events in json.loads(self._process.stdout.readline())]


@contextmanager
def forked_trainers(corpus: Path) -> Iterator[Trainers]:
    """`Trainers` for a block; the corpus is what they warm up with."""
    command = [sys.executable, str(TESTS / "training_processes.py"), str(corpus)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Trainers(process)
        assert process.stdin is not None
        process.stdin.close()


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line with which a command is refused."""
    capsys.readouterr()
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    return shown.err
