"""kill -9 while `openankh embed` writes a store: nothing acknowledged lost, and in the end the same bytes."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from forked_runs import KILL, Fault, ForkedRuns, Outcome, drawn_kill
from real_proteins import write_proteins
from trials import Campaign, Contents, Tally, acknowledged, check_acknowledged, contents, others, trial_folder

SHARD_RESIDUES = 3_000
NUM_PROTEINS = 60


class KillTrials:
    """Trials on one input: each a run killed once or several times, then finished, then compared."""

    def __init__(self, runs: ForkedRuns, folder: Path, seed: int) -> None:
        self.runs, self.tally, self.random = runs, Tally(), random.Random(seed)
        self.fasta = folder / "proteins.fasta"
        self.num_residues = write_proteins(self.fasta, NUM_PROTEINS, seed)
        self.whole, self.seconds, self.num_calls = self._undisturbed(folder / "undisturbed", "mean")
        self.old, _, _ = self._undisturbed(folder / "old", "max")
        self.old_store = folder / "old" / "store"

    def _undisturbed(self, folder: Path, pool: str) -> tuple[Contents, float, int]:
        """What a run that nothing befalls leaves; the shortest of three in time."""
        outcomes, found = [], []
        for _ in range(3):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            outcomes.append(self.runs.run(self._arguments(folder / "store", pool), folder))
            assert outcomes[-1].code == 0, outcomes[-1].errors
            found.append(contents(folder / "store"))
        assert found[0] == found[1] == found[2], "undisturbed runs differ"
        return found[0], min(outcome.seconds for outcome in outcomes), outcomes[0].num_calls

    def _arguments(self, target: Path, pool: str = "mean", *more: str) -> list[object]:
        return ["embed", self.fasta, "-o", target, "--pool", pool, "--quiet", "--json", *more]

    def trial(self, fault: Fault | None = None, kills: int = 1, over_old: bool = False) -> None:
        """Kill a run (where `fault` says, else anywhere) so many times, finish it, compare."""
        with trial_folder() as folder:
            target = folder / "store"
            if over_old:
                shutil.copytree(self.old_store, target)
            arguments = self._arguments(target, "mean", *(["--overwrite"] if over_old else []))
            num_shards = 0
            for _ in range(kills):
                outcome = self.runs.run(
                    arguments, folder, fault or drawn_kill(self.random, self.seconds, self.num_calls)
                )
                if not outcome.is_killed:
                    break
                num_shards = self._after_kill(folder, target, num_shards, over_old)
            self._finish(folder, target, arguments, over_old)

    def _after_kill(self, folder: Path, target: Path, num_before: int, over_old: bool) -> int:
        self.tally.count("kills")
        found = contents(target)
        if found == self.whole:
            self.tally.count("kills after the store had its name")
            return num_before
        expected = self.old if over_old else {}
        self.tally.check(found == expected, f"at the target stood {sorted(found)}")
        partial = target.with_name("store.partial")
        names = {entry.name for entry in partial.iterdir()} if partial.is_dir() else set()
        if any(name.startswith("shard-") and ".tmp-" in name for name in names):
            self.tally.count("kills while a shard was written")
        if any(name.startswith("manifest") for name in names):
            self.tally.count("kills between the manifest and the last renaming")
        if (partial / "manifest.json").is_file() and not (partial / "journal.jsonl").is_file():
            return num_before
        self.tally.count("kills with shards acknowledged", bool(acknowledged(target)))
        return check_acknowledged(self.tally, target, self.whole, num_before)

    def _finish(self, folder: Path, target: Path, arguments: list[object], over_old: bool) -> None:
        is_whole = contents(target) == self.whole
        kept = sum(int(str(shard["num_records"])) for shard in acknowledged(target))
        outcome = self.runs.run(arguments, folder)
        if is_whole and not over_old:
            self.tally.check(outcome.code == 2 and "exists already" in outcome.errors, f"finished: {outcome.errors}")
        else:
            self.tally.check(outcome.code == 0, f"could not go on: {outcome.errors}")
            self._check_kept(outcome, kept)
            self.tally.count("runs gone on with to the end")
        self.tally.count("finished folders compared by SHA-256 of every file")
        self.tally.check(contents(target) == self.whole, "the finished store differs from the undisturbed run's")
        self.tally.check(others(folder, target) == [], f"left behind: {others(folder, target)}")

    def _check_kept(self, outcome: Outcome, kept: int) -> None:
        """Nothing acknowledged is computed again; at most a shard more than that was computed before."""
        if outcome.code == 0:
            found = json.loads(outcome.output)["records_kept"]
            self.tally.check(found >= kept, f"{kept} proteins were acknowledged, {found} kept")


def random_kills(num_kills: int, seed: int = 0) -> Campaign:
    """So many kills at random moments and calls, one to three a run, one run in five over an older store."""
    with ForkedRuns(SHARD_RESIDUES) as runs, trial_folder() as folder:
        trials = KillTrials(runs, folder, seed)
        num_trials = 0
        while trials.tally.counts.get("kills", 0) < num_kills:
            trials.trial(kills=trials.random.choice((1, 1, 2, 3)), over_old=trials.random.random() < 0.2)
            num_trials += 1
            if num_trials % 20 == 0:
                print(f"{trials.tally.counts} {len(trials.tally.failures)} failures", flush=True)
        what = (
            f"`openankh embed` on {NUM_PROTEINS} real proteins and repeats ({trials.num_residues:,} residues, bundled "
            f"model, shards of {SHARD_RESIDUES:,} residues: {len(trials.whole) - 2}), killed with SIGKILL, half at a "
            "random moment, half at a random one of its file calls (a write torn in its middle); the same command "
            "again finishes it."
        )
        return Campaign(f"{num_kills} random kills of embed into a store", what, trials.tally)


def kills_at_every_call(seed: int = 1) -> Campaign:
    """A kill at each single file call of a run into a new store, and of one over an older store."""
    with ForkedRuns(SHARD_RESIDUES) as runs, trial_folder() as folder:
        trials = KillTrials(runs, folder, seed)
        for over_old in (False, True):
            # What differs from run to run (an older store's files to remove) comes last: go on until one finishes.
            for call in range(1, trials.num_calls + 40):
                before = trials.tally.counts.get("kills", 0)
                trials.trial(Fault(KILL, at=call), over_old=over_old)
                if trials.tally.counts["kills"] == before:
                    break
            trials.tally.count(f"calls killed at, {'over an older store' if over_old else 'new store'}", call - 1)
            print(trials.tally.counts, flush=True)
        what = "The same run killed at its 1st, 2nd, 3rd … call of write, fsync, rename, open, mkdir, unlink."
        return Campaign("A kill at every single file call", what, trials.tally)


def kills_of_the_command(num_kills: int, seed: int = 2) -> Campaign:
    """Kills of the command as a user starts it, with shards of the usual size, at random moments."""
    generator, tally = random.Random(seed), Tally()
    with trial_folder() as folder:
        num_residues = write_proteins(folder / "proteins.fasta", 1_500, seed)
        command = [sys.executable, "-m", "openankh", "embed", folder / "proteins.fasta", "--quiet", "-o"]
        started = time.perf_counter()
        subprocess.run([*command, folder / "undisturbed"], check=True)
        seconds = time.perf_counter() - started
        whole = contents(folder / "undisturbed")
        while tally.counts.get("kills", 0) < num_kills:
            _kill_command(command, folder, generator.uniform(0, seconds), whole, tally)
    what = (
        f"`python -m openankh embed` as a user starts it, {num_residues:,} residues, shards of the usual size "
        f"({len(whole) - 2}), killed with SIGKILL at random moments from its start on, finished by the same command."
    )
    return Campaign(f"{num_kills} random kills of the command", what, tally)


def _kill_command(command: list, folder: Path, seconds: float, whole: Contents, tally: Tally) -> None:
    target = folder / "store"
    process = subprocess.Popen([*command, target])
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        if process.wait() == -signal.SIGKILL:
            tally.count("kills")
            check_acknowledged(tally, target, whole, 0)
    if not target.exists():
        tally.check(subprocess.run([*command, target], check=False).returncode == 0, "could not go on")
    tally.count("finished folders compared by SHA-256 of every file")
    tally.check(contents(target) == whole, "the finished store differs from the undisturbed run's")
    tally.check(not target.with_name("store.partial").exists(), "a partial folder was left")
    shutil.rmtree(target)
