"""One trainer a run folder: a lock the system drops when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from openankh.errors import UserError


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold RUN/lock for the block; UserError when another process holds it.

    A record lock, which child processes do not inherit: an orphaned worker cannot keep a dead trainer's run locked.
    """
    with _opened(run) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read(200).strip() or "unknown"
            raise UserError(
                f"{run} is being trained by process {holder}; wait for it, or give another folder with --out"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


def _opened(run: Path) -> TextIO:
    try:
        run.mkdir(parents=True, exist_ok=True)
        return open(run / "lock", "a+")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {run}: {reason}; choose another place or mend its permissions") from None
