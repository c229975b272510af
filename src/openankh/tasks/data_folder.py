"""Where the files of tasks are: a local folder laid out as `docs/data.md` says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openankh.errors import UserError
from openankh.tasks.table import COMPRESSIONS


class DataSource(Protocol):
    """Whatever can say where a file of the layout lies."""

    def path(self, file: str) -> Path:
        """Where a file is; UserError, in one line with what to do, when it cannot be had."""
        ...

    def has(self, file: str) -> bool:
        """Whether it can be had."""
        ...


@dataclass(frozen=True)
class DataFolder:
    """A local folder; a table may also lie there unpacked. UserError when there is no such folder."""

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; give the one that holds the data of tasks (docs/data.md)")

    def path(self, file: str) -> Path:
        """Where a file is; UserError when it is not there."""
        found = self._found(file)
        if found is None:
            raise UserError(f"{self.root / file}: no such file; docs/data.md tells what it holds and where it is from")
        return found

    def has(self, file: str) -> bool:
        """Whether it is there."""
        return self._found(file) is not None

    def _found(self, file: str) -> Path | None:
        unpacked = file
        for ending in COMPRESSIONS:
            unpacked = unpacked.removesuffix(ending)
        return next((self.root / name for name in (file, unpacked) if (self.root / name).is_file()), None)
