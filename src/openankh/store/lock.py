"""One writer an output: an advisory lock that the system drops when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openankh.errors import UserError


@contextmanager
def sole_writer(target: Path) -> Iterator[None]:
    """Hold the lock of `target` (a hidden file beside it) for the block; UserError when another process holds it."""
    path = target.with_name(f".{target.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {target}: {reason}; choose another place or mend its permissions") from None
    try:
        if not _take(descriptor, path):
            raise UserError(f"cannot write {target}: another process is writing it; wait for it or choose another name")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # The previous holder may have removed the file between our opening and locking it: then it guards nothing.
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
