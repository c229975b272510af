"""Which code trains: the version, a hash over its sources and, in a clone of the repository, the commit."""

import hashlib
from functools import cache
from pathlib import Path

import openankh

_DOORS = ("cli", "web", "demo", "data", "bundled")
"""Folders of the package that no number depends on."""


@cache
def code_version() -> dict[str, str | None]:
    """Version, SHA-256 over the sources behind the doors, and commit, None outside of a clone."""
    package = Path(openankh.__file__).parent
    return {"version": openankh.__version__, "sha256": _sha256_of_sources(package), "commit": _commit(package)}


def _sha256_of_sources(package: Path) -> str:
    paths = (path for suffix in ("py", "c") for path in package.rglob(f"*.{suffix}"))
    sources = sorted((path.relative_to(package).as_posix(), path) for path in paths)
    digest = hashlib.sha256()
    for name, path in sources:
        if name.split("/")[0] not in _DOORS:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _commit(package: Path) -> str | None:
    """The commit that the clone around the package stands at, read without git."""
    git = package.parent.parent / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text().strip()
        lines = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {reference}")), None)
    except OSError:
        return None
