"""The C kernels of this folder as a library: compiled once by the machine's own compiler, kept in the user's cache."""

import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from openankh.errors import UserError
from openankh.files import atomic_path

FOLDER = Path(__file__).parent
SECONDS = 120
"""After which a compiler is taken to hang."""

_LOG = logging.getLogger(__name__)


def compiled_library(flags: Sequence[str]) -> Path | None:
    """The library for a processor of which the flags tell what it can do; None where it cannot be made.

    Its name holds a hash of sources and flags, so that machines with a common home folder each find their own.
    """
    files = sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")])
    content = b"".join(file.read_bytes() for file in files) + " ".join(flags).encode("ascii")
    try:
        path = _cache_folder() / f"kernels-{hashlib.sha256(content).hexdigest()[:16]}.so"
        if not path.is_file():
            _compile([file for file in files if file.suffix == ".c"], flags, path)
        return path
    except (OSError, RuntimeError, UserError, subprocess.SubprocessError) as error:
        _LOG.info("no C kernels: %s", error)
        return None


def _compile(sources: Sequence[Path], flags: Sequence[str], path: Path) -> None:
    compiler = _compiler()
    if compiler is None:
        raise RuntimeError("there is no C compiler: install cc, gcc or clang, or name one in CC")
    with atomic_path(path) as temporary:
        command = [*compiler, "-O3", *flags, "-shared", "-fPIC", "-o", str(temporary), *map(str, sources), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


def _compiler() -> list[str] | None:
    """The words that begin the compiler's command."""
    if named := os.environ.get("CC", "").split():
        return named
    found = (shutil.which(name) for name in ("cc", "gcc", "clang"))
    return next(([path] for path in found if path), None)


def _cache_folder() -> Path:
    """A folder into which nobody else can put a library for this user to run."""
    parent = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(parent) if parent else Path.home() / ".cache") / "openankh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise RuntimeError(f"{folder} is not the user's alone")
    return folder
