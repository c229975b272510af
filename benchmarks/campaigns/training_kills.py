"""kill -9 of training at any moment, also while saving: each run resumed ends with the bits of an undisturbed one.

make campaign-training, or: python benchmarks/campaigns/training_kills.py [--kills 50]; writes TRAINING_KILLS.md.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

from bench import machine  # noqa: E402
from trials import Campaign, Tally, trial_folder  # noqa: E402

from openankh.errors import UserError  # noqa: E402
from openankh.pretraining.checkpoints import Checkpoints  # noqa: E402
from training_samples import Trainers, fingerprint, forked_trainers, prepare_sample, pretrain_arguments  # noqa: E402

SETTINGS = ("accumulation=2", "total_steps=6", "checkpoint_every=1")


@dataclass(frozen=True)
class Setup:
    """Processes that train together, and how."""

    title: str
    num_ranks: int
    more: tuple[str, ...] = ()


SETUPS = (
    Setup("1 process", 1),
    Setup("2 ranks, each with all weights", 2),
    Setup("2 ranks that share weights, layers computed again", 2, ("--sharding", "full", "--recompute")),
)


class KillTrials:
    """Runs of one setup, each killed at a random moment, resumed, and compared with one that nothing befell."""

    def __init__(self, trainers: Trainers, corpus: Path, setup: Setup, folder: Path):
        self.trainers, self.corpus, self.setup = trainers, corpus, setup
        self.tally, self.random = Tally(), random.Random(setup.title)
        began = time.monotonic()
        ended = trainers.run_ranks(self._arguments(folder / "whole"), setup.num_ranks)
        self.seconds, self.num_events = time.monotonic() - began, [events for _, events in ended]
        assert all(code == 0 for code, _ in ended), ended
        self.whole = fingerprint(folder / "whole")

    def _arguments(self, run: Path, *more: str) -> list[str]:
        return pretrain_arguments(self.corpus, run, *SETTINGS, *self.setup.more, *more)

    def trial(self, run: Path, number: int) -> None:
        """Kill a run, every second time by the clock, else at an event, and go on with it."""
        guilty = number % self.setup.num_ranks
        share = self.random.random()
        by_clock = number // self.setup.num_ranks % 2 == 0
        at_event = 0 if by_clock else int(share * (self.num_events[guilty] - 1)) + 1
        seconds = share * self.seconds if by_clock else 0.0
        where = f"{self.setup.title}: rank {guilty} at " + (f"{seconds:.2f} s" if by_clock else f"event {at_event}")
        began = time.monotonic()
        codes = self.trainers.run_ranks(
            self._arguments(run), self.setup.num_ranks, signal.SIGKILL, at_event, guilty, seconds
        )
        if codes[guilty][0] != -signal.SIGKILL:  # it had ended before: by now the machine is faster
            self.seconds = time.monotonic() - began
            return
        self.tally.count("kills")
        self.tally.count("by the clock" if by_clock else "at an event")
        self._look_at_checkpoints(run, where)
        again = ["--resume"] if (run / "run.json").exists() else []
        codes = [code for code, _ in self.trainers.run_ranks(self._arguments(run, *again), self.setup.num_ranks)]
        self.tally.check(set(codes) == {0}, f"{where}: resumed with exit codes {codes}")
        if set(codes) == {0}:
            self.tally.check(fingerprint(run) == self.whole, f"{where}: other bits in the end")
            self.tally.count("resumed runs compared bit by bit")

    def _look_at_checkpoints(self, run: Path, where: str) -> None:
        """Whoever had a checkpoint must have a whole one."""
        folder = run / "checkpoints"
        if any(folder.glob("step-*.tmp-*")):
            self.tally.count("kills while a checkpoint was written or removed")
        if not any(folder.glob("step-*")):
            self.tally.count("kills before the first checkpoint")
            return
        copy = run.with_name(f"{run.name}-copy")
        shutil.copytree(folder, copy / "checkpoints")
        had_one = bool(list(folder.glob("step-" + "[0-9]" * 8)))
        try:
            found = Checkpoints(copy).read_newest()
        except UserError as error:
            self.tally.check(False, f"{where}: {error}")
            found = None
        self.tally.check(found is not None or not had_one, f"{where}: no checkpoint can be loaded")
        self.tally.check(found is None or not found.refused, f"{where}: a damaged checkpoint under a final name")
        shutil.rmtree(copy)


def campaign(trainers: Trainers, corpus: Path, setup: Setup, num_kills: int) -> Campaign:
    """So many kills of one setup."""
    with trial_folder() as folder:
        trials = KillTrials(trainers, corpus, setup, folder)
        number = 0
        while trials.tally.counts.get("kills", 0) < num_kills:
            trials.trial(folder / str(number), number)
            shutil.rmtree(folder / str(number), ignore_errors=True)
            number += 1
    what = (
        "`openankh pretrain` of a tiny T5 by Muon for 6 steps of 2 batches, a checkpoint after each step, killed with "
        "SIGKILL (of two ranks one, in turn; the other ends by itself) and gone on with by `--resume`. Compared: the "
        "SHA-256 of the weights, the optimiser's state, random numbers, place in the corpus, journal and best model."
    )
    return Campaign(f"{setup.title}: {num_kills} random kills", what, trials.tally)


def main() -> int:
    """Run the campaign, write its table; exit code 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--setups", type=int, nargs="+", default=range(len(SETUPS)), help="which of them, from 0")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "TRAINING_KILLS.md")
    options = parser.parse_args()
    command = " ".join(["python benchmarks/campaigns/training_kills.py", *sys.argv[1:]])
    sections = [f"# Kills of training\n\nWritten by `make campaign-training` (`{command}`).\n", *machine(), ""]
    num_failures = 0
    with trial_folder() as folder:
        corpus = prepare_sample(folder / "corpus")
        with forked_trainers(corpus) as trainers:
            for setup in (SETUPS[number] for number in options.setups):
                done = campaign(trainers, corpus, setup, options.kills)
                num_failures += len(done.tally.failures)
                sections.append(done.as_markdown())
                print(sections[-1], flush=True)
                options.out.write_text("\n".join(sections))
    print(f"{num_failures} failures; written to {options.out}")
    return int(num_failures > 0)


if __name__ == "__main__":
    sys.exit(main())
