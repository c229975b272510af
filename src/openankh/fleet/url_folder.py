"""A folder behind a URL, such as s3://bucket/store, by fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openankh.errors import UserError


def is_url(name: str) -> bool:
    """Whether an output is a URL rather than a path."""
    return "://" in name


@dataclass(frozen=True)
class UrlFolder:
    """A folder behind a URL; a value that travels to workers. Everything that goes wrong there is a UserError."""

    url: str

    def read(self, name: str) -> bytes | None:
        """A file's contents, None when it is not there."""
        with self._reaching() as (system, root):
            try:
                return system.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a small file."""
        with self._reaching() as (system, root):
            system.pipe_file(f"{root}/{name}", text.encode())

    def upload(self, path: Path, name: str) -> None:
        """Copy a file of this machine there."""
        with self._reaching() as (system, root):
            system.put_file(str(path), f"{root}/{name}")

    def remove(self, name: str) -> None:
        """Remove a file that is there."""
        with self._reaching() as (system, root):
            system.rm_file(f"{root}/{name}")

    def sizes(self) -> dict[str, int]:
        """The names of all files there, with their bytes."""
        with self._reaching() as (system, root):
            system.invalidate_cache()
            try:
                entries = system.ls(root, detail=True)
            except FileNotFoundError:
                return {}
            return {entry["name"].rsplit("/", 1)[-1]: entry["size"] or 0 for entry in entries}

    def make(self) -> None:
        """Make the folder, where there are folders."""
        with self._reaching() as (system, root):
            system.makedirs(root, exist_ok=True)

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        """(file system, path in it) of the URL."""
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self.url)
            yield system, root.rstrip("/")
        except ImportError as error:
            raise UserError(f"{self.url}: {error}; install it with pip and run again") from None
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{self.url}: {reason}; check the address and your rights there") from error
