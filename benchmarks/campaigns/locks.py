"""Two writers of one output, and locks that killed ones left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from real_proteins import write_proteins
from trials import Campaign, Tally, contents, trial_folder


def two_writers(num_trials: int) -> Campaign:
    """A second `openankh embed` into the output of a running one, which is then killed; a third finishes it."""
    tally = Tally()
    with trial_folder() as folder:
        write_proteins(folder / "proteins.fasta", 20)
        command = [sys.executable, "-m", "openankh", "embed", folder / "proteins.fasta", "--quiet", "-o"]
        subprocess.run([*command, folder / "undisturbed"], check=True)
        whole = contents(folder / "undisturbed")
        for number in range(num_trials):
            _trial(command, folder / f"store-{number}", whole, tally)
    what = (
        "The command is started, then a second time into the same output: exit code 2, one line that names the first. "
        "The first is killed with SIGKILL while it holds its lock; the command finishes all the same."
    )
    return Campaign(f"{num_trials} times two writers, {num_trials} stale locks", what, tally)


def _trial(command: list, target: Path, whole: object, tally: Tally) -> None:
    lock = target.with_name(f".{target.name}.lock")
    first = _stopped_holder([*command, target], target, lock, tally)
    second = subprocess.run([*command, target], capture_output=True, text=True, check=False)
    one_line = second.stderr.count("\n") == 1 and f"another process ({first.pid} on" in second.stderr
    tally.count("second writers refused", second.returncode == 2 and one_line)
    tally.check(second.returncode == 2 and one_line, f"a second writer: {second.returncode} {second.stderr}")
    first.kill()
    first.wait()
    tally.count("locks left by a killed writer", lock.exists())
    third = subprocess.run([*command, target], capture_output=True, text=True, check=False)
    tally.count("runs afterwards that finished", third.returncode == 0)
    tally.check(third.returncode == 0 and contents(target) == whole, f"afterwards: {third.stderr}")
    tally.check(not lock.exists(), "the lock was left")


def _stopped_holder(command: list, target: Path, lock: Path, tally: Tally) -> subprocess.Popen:
    """A writer stopped while it holds its signed lock; one that was through before the signal came is started anew."""
    while True:
        writer = subprocess.Popen(command)
        while not _is_signed(lock) and writer.poll() is None:
            time.sleep(0.001)
        writer.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(writer.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            if lock.exists():
                return writer
            writer.kill()
            writer.wait()
        else:
            writer.returncode = os.waitstatus_to_exitcode(status)
        tally.count("first writers that had finished before they were stopped")
        shutil.rmtree(target, ignore_errors=True)


def _is_signed(lock: Path) -> bool:
    try:
        return lock.stat().st_size > 0
    except FileNotFoundError:
        return False
