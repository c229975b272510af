"""Batches prepared by a thread while the device works on those before."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from openankh.packing import Batch, Turns


class BatchesAhead:
    """Gives what `batches.at` gives; asked for one position after the other, it has them ready."""

    def __init__(self, batches: Turns, num_ahead: int = 4):
        self._batches = batches
        self._num_ahead = num_ahead
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._pending: deque[Future[Batch]] = deque()
        self._expected = self._cursor = 0

    def at(self, position: int) -> Batch:
        """The batch that begins with the protein served at `position`."""
        if position != self._expected:
            self._start_from(position)
        while len(self._pending) <= self._num_ahead:
            self._pending.append(self._pool.submit(self._make))
        batch = self._pending.popleft().result()
        self._expected = batch.next_position
        return batch

    def _start_from(self, position: int) -> None:
        while self._pending:
            self._pending.popleft().result()
        self._cursor = position

    def _make(self) -> Batch:
        # The one worker alone moves the cursor; `_start_from` does so only when it rests.
        batch = self._batches.at(self._cursor)
        self._cursor = batch.next_position
        return batch
