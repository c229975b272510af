"""Writing while the next batch is computed: a thread, and a short queue in front of it."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from queue import Queue
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_WAITING = 2
"""Batches that may wait; when the disk is slower than the model, the model waits then."""


class WriteBehind(AbstractContextManager["WriteBehind[Item]"], Generic[Item]):
    """Hands batches, in order, to `write` in another thread.

    When `write` raises, nothing more is written, and the next `put`, or leaving the block, raises the same. Leaving the
    block waits until all is written; leaving it by an exception waits only for the batch being written and drops the
    others.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None]) -> None:
        self._write = write
        self._queue: Queue[Sequence[Item] | None] = Queue(MAX_WAITING)
        self._failure: BaseException | None = None
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._serve, name="openankh-writer", daemon=True)

    def __enter__(self) -> "WriteBehind[Item]":
        self._thread.start()
        return self

    def put(self, batch: Sequence[Item]) -> None:
        """Have a batch written after all before it."""
        self._raise_failure()
        self._queue.put(batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_abandoned = kind is not None
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            try:
                raise self._failure
            finally:
                del self  # or the error would hold, by its traceback, what holds the error

    def _serve(self) -> None:
        # It takes from the queue until the end whatever happens, so that nobody ever waits for room in vain.
        while (batch := self._queue.get()) is not None:
            if self._failure is None and not self._is_abandoned:
                try:
                    self._write(batch)
                except BaseException as failure:
                    self._failure = failure
