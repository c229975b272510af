"""One writer an output: an advisory lock that the system drops when its holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openankh.errors import UserError
from openankh.files import full_disk_named, unwritable_named

_held: set[int] = set()
_MAX_HOLDER_BYTES = 200


@contextmanager
def sole_writer(path: Path | str) -> Iterator[None]:
    """Hold the lock of the output `path` (a hidden file beside it) for the block.

    Raises UserError naming the holder when another process has it, and when no lock can be made there. A child process
    never inherits it: a worker that outlives a killed writer keeps nothing locked.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name}.lock")
    descriptor = _taken(lock, target)
    _held.add(descriptor)
    try:
        _sign(descriptor)
        yield
    finally:
        if descriptor in _held:  # not in a forked child
            lock.unlink(missing_ok=True)
            _held.discard(descriptor)
            os.close(descriptor)


def _taken(lock: Path, target: Path) -> int:
    """The open descriptor of the lock file, locked."""
    while True:
        with full_disk_named(target, lock, None), unwritable_named(target):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor, target)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still(lock, descriptor):
            return descriptor
        os.close(descriptor)


def _take(descriptor: int, target: Path) -> None:
    with unwritable_named(target):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            whose = f"another process{_holder_of(descriptor)} is writing it"
            raise UserError(f"cannot write {target}: {whose}; wait for it or choose another name") from None


def _is_still(lock: Path, descriptor: int) -> bool:
    """Whether the file is the one at its place: a holder that ended between our opening and locking has removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Say in the file who holds it; only for people, so a full disk does not matter here."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {os.uname().nodename}".encode(), 0)


def _holder_of(descriptor: int) -> str:
    text = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode("utf-8", "replace")
    return f" ({text})" if text.isprintable() and text else ""


def _forget_in_child() -> None:
    """A forked child shares the lock as long as it holds the descriptor."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
