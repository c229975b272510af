"""Writing files and folders so that a reader sees the old one or the whole new one, never a part."""

import ctypes
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from openankh.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class FullDiskError(UserError):
    """The disk has no room, or the system allows no larger file; `reason` says which in the system's words."""

    def __init__(self, line: str, reason: str):
        super().__init__(line)
        self.reason = reason


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path | str) -> None:
    """Make the names in a folder (new files, renames) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_free_space(path: Path, needed_bytes: int) -> None:
    """Raise UserError when the disk that would hold `path` has fewer than `needed_bytes` free."""
    if free_bytes(path) < needed_bytes:
        raise _disk_full(path, needed_bytes, os.strerror(errno.ENOSPC).lower())


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user can still write on the disk that holds (or would hold) `path`."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def write_file_atomically(path: Path | str, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write one file durably: bytes, text (as UTF-8), or a function that writes to the open file."""
    if isinstance(content, str):
        content = content.encode()
    needed = None if callable(content) else len(content)
    with atomic_file(path, needed_bytes=needed) as file:
        if callable(content):
            content(file)
        else:
            file.write(content)


@contextmanager
def atomic_file(path: Path | str, *, needed_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of `path`; leaving the block puts it, durably, in the place of `path`.

    Leaving by an exception removes it and leaves what stood at `path`. A full disk raises UserError with the bytes
    needed (`needed_bytes` where the caller knows them) and free.
    """
    with atomic_path(path, needed_bytes=needed_bytes) as temporary, open(temporary, "wb") as file:
        yield file


@contextmanager
def atomic_path(path: Path | str, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """As `atomic_file`, for libraries that open files by themselves: gives the name of an empty temporary neighbour."""
    target = _target(path, is_wanted=Path.is_file, kind="a plain file")
    temporary = _temporary(target)
    try:
        with full_disk_named(target, temporary, needed_bytes):
            with unwritable_named(target):
                os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            with unwritable_named(target):
                os.replace(temporary, target)
            fsync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path | str, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """Give an empty temporary neighbour folder to fill; leaving the block puts it, durably, in the place of `path`.

    An existing folder at `path` is replaced as a whole: in one step where the system can exchange two names (Linux),
    else by two renames. Leaving by an exception removes the temporary and leaves what stood at `path`.
    """
    target = _target(path, is_wanted=Path.is_dir, kind="a folder")
    temporary = _temporary(target)
    try:
        with full_disk_named(target, temporary, needed_bytes):
            with unwritable_named(target):
                temporary.mkdir()
            yield temporary
            _fsync_tree(temporary)
            put_folder_in_place(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def put_folder_in_place(new: Path, path: Path | str) -> None:
    """Rename the folder `new`, whose files are durable, to its neighbour `path`; what stood there is removed."""
    target = _target(path, is_wanted=Path.is_dir, kind="a folder")
    with unwritable_named(target):
        replaced = _exchanged(new, target)
        fsync_folder(target.parent)
    if replaced is not None:
        shutil.rmtree(replaced, ignore_errors=True)


def remove_temporaries_of(path: Path | str) -> int:
    """Remove what killed writers of `path` left beside it; the caller must hold the path's lock. Returns how many."""
    target = Path(os.path.realpath(path))
    leftovers = [entry for entry in target.parent.iterdir() if entry.name.startswith(f"{target.name}.tmp-")]
    for leftover in leftovers:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return len(leftovers)


def _target(path: Path | str, is_wanted: Callable[[Path], bool], kind: str) -> Path:
    # A link is followed, so that the file it points to is replaced and the link stays. What is neither a file nor a
    # folder (/dev/null, a pipe) must never be renamed over.
    target = Path(os.path.realpath(path))
    if not target.name:
        raise UserError(f"cannot write {path}: it is the root of the disk; name {kind} in it")
    if target.exists() and not is_wanted(target):
        raise UserError(f"cannot write {path}: it exists and is not {kind}; choose another name")
    if not target.parent.is_dir():
        raise _folder_missing(path, target.parent)
    return target


def _folder_missing(path: Path | str, folder: Path) -> UserError:
    return UserError(f"cannot write {path}: the folder {folder} does not exist; create it first")


def _temporary(target: Path) -> Path:
    return target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")


def _fsync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        fsync_folder(parent)


def _exchanged(new: Path, target: Path) -> Path | None:
    """Rename `new` to `target`; returns where the folder that stood there is now, or None when there was none.

    That is a name of a temporary: whoever is killed while removing it leaves nothing that looks like `new`.
    """
    if not target.exists():
        os.rename(new, target)
        return None
    aside = _temporary(target)
    if _exchange(new, target):
        return aside if _is_renamed(new, aside) else new
    os.rename(target, aside)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(aside, target)
        raise
    return aside


def _is_renamed(old: Path, new: Path) -> bool:
    """Rename, where nothing depends on it."""
    try:
        os.rename(old, new)
    except OSError:
        return False
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


@contextmanager
def unwritable_named(target: Path) -> Iterator[None]:
    """Turn the system's refusal to write, but for a full disk, into a UserError that names `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        if not target.parent.is_dir():
            raise _folder_missing(target, target.parent) from None
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {target}: {reason}; choose another place or mend its permissions") from error


@contextmanager
def full_disk_named(target: Path, temporary: Path, needed_bytes: int | None) -> Iterator[None]:
    """Turn a full disk met in the block into a UserError with the bytes needed and free.

    `temporary` is what the block writes: its bytes count as free.
    """
    try:
        yield
    except Exception as error:
        reason = full_disk_reason(error)
        if reason is None or isinstance(error, UserError):
            raise
        raise _disk_full(target, needed_bytes, reason, _size_of(temporary)) from error


def full_disk_reason(error: Exception) -> str | None:
    """The system's words, when an error means that the disk is full or the file larger than may be; else None."""
    if isinstance(error, FullDiskError):
        return error.reason
    # safetensors and h5py report the system's error inside a text of their own.
    for code in FULL:
        if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
            return os.strerror(code).lower()
    return None


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size if path.exists() else 0


def _disk_full(target: Path, needed_bytes: int | None, reason: str, num_written_bytes: int = 0) -> FullDiskError:
    """The error for a full disk; what was written so far counts as free, for it is taken away again."""
    needed = f"{needed_bytes:,}" if needed_bytes is not None else f"more than {num_written_bytes:,}"
    free = free_bytes(target) + num_written_bytes
    remedy = "free some space or choose another disk; what stood there before is untouched"
    return FullDiskError(f"cannot write {target}: {reason} ({needed} bytes needed, {free:,} free); {remedy}", reason)
