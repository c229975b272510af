"""What a caller is told while a lookup is opened and searched: progress and notes."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Watcher:
    """Told of progress (what is done, how much of it, of how much if that is known, in which unit) and of notes."""

    progress: Callable[[str, float, float | None, str], None] = lambda what, done, total, unit: None
    note: Callable[[str], None] = lambda text: None


SILENT = Watcher()
