"""The model's thread: batches of proteins from all waiting requests, one after another, each answer to its request.

Requests join while others are under way: whenever a batch is done, the next is filled from what waits by then. A
request whose client has left is dropped before the next batch.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import torch

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.serve.waiting import Array, Batch, Item, Line, Request, Told

log = logging.getLogger("openankh.serve")

_FIRST_RATE = 5_000.0
"""Residues a second, until it is known how fast the model is."""
_NICENESS = 5
"""How far the model gives way to the threads that answer."""


class Embeds(Protocol):
    """What computes batches: a `ModelHost`."""

    def max_tokens(self, options: EmbedOptions, /) -> int:
        """Tokens of a batch, at present."""
        ...

    def embed(self, options: EmbedOptions, records: Sequence[Record], /) -> list[Array]:
        """The arrays of a batch."""
        ...


class BusyError(Exception):
    """No more work is taken now; `retry_after` seconds from now there may be room."""

    def __init__(self, retry_after: int, reason: str = "full") -> None:
        super().__init__(f"{reason}; try again in {retry_after} s")
        self.retry_after = retry_after
        self.reason = reason


class FailedError(Exception):
    """The model failed for a reason that is not the request's; trying again may help."""


@dataclass(frozen=True)
class BatchFacts:
    """What was measured of a batch."""

    num_proteins: int
    num_requests: int
    num_tokens: int
    seconds: float


class Engine:
    """Runs one thread that owns the model.

    `submit` gives a future of the arrays, or raises BusyError when `max_residues` wait already; cancelling the future
    drops what of it is not computed yet. `stop` takes nothing new and computes what waits, for so many seconds.
    """

    def __init__(
        self,
        model: Embeds,
        max_residues: int,
        threads: int | None = None,
        on_batch: Callable[[BatchFacts], None] = lambda facts: None,
    ) -> None:
        self._model, self._max_residues, self._threads, self._on_batch = model, max_residues, threads, on_batch
        self._line = Line()
        self._changed = threading.Condition()
        self._stopping = False
        self._rate = _FIRST_RATE
        self._thread = threading.Thread(target=self._run, name="openankh-model", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Take nothing new; whether all that waited was computed within these seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            for request in self._line.clear():
                request.fail(BusyError(1, "the server stops"))
        return not self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether it computes and takes work."""
        return self._thread.is_alive() and not self._stopping

    @property
    def is_full(self) -> bool:
        """Whether it would refuse a request now."""
        return self._stopping or self._line.num_residues >= self._max_residues

    @property
    def num_waiting_residues(self) -> int:
        """Residues that no batch has taken yet."""
        return self._line.num_residues

    @property
    def num_waiting_requests(self) -> int:
        """Requests that are not wholly in batches yet."""
        with self._changed:
            return len(self._line)

    @property
    def retry_after(self) -> int:
        """Seconds until about half of what waits will have been computed."""
        return max(1, round(self._line.num_residues / 2 / self._rate))

    def submit(
        self, records: Sequence[Record], options: EmbedOptions, told: Told | None = None
    ) -> "Future[list[Array]]":
        """Let proteins wait to be embedded; `told` hears from the model's thread how many of them are done."""
        request = Request(records, options, told=told)
        with self._changed:
            if self.is_full:
                raise BusyError(self.retry_after, "the server stops" if self._stopping else "too much work waits")
            self._line.add(request)
            self._changed.notify()
        return request.future

    def _run(self) -> None:
        give_way(_NICENESS)
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        while (batch := self._next_batch()) is not None:
            self._compute(batch)

    def _next_batch(self) -> Batch | None:
        """The next batch as soon as there is one; None at the end."""
        with self._changed:
            while (options := self._line.options_next()) is None:
                if self._stopping:
                    return None
                self._changed.wait()
        max_tokens = self._model.max_tokens(options)  # may load: not while others would wait for the lock
        with self._changed:
            return self._line.batch(options, max_tokens)

    def _compute(self, batch: Batch) -> None:
        start = time.perf_counter()
        went_well = [self._compute_part(batch.options, part) for part in batch.parts]
        if all(went_well):
            self._measure(batch, time.perf_counter() - start)

    def _compute_part(self, options: EmbedOptions, items: Sequence[Item]) -> bool:
        """Compute proteins together and answer them; whether that went well."""
        try:
            arrays = self._model.embed(options, [record for _, record in items])
        except UserError:
            self._compute_apart(options, items)
            return False
        except Exception:
            log.exception("a batch of %d proteins failed", len(items))
            for request, _ in items:
                request.fail(FailedError("the model failed"))
            return False
        for (request, _), array in zip(items, arrays, strict=True):
            request.settle(array)
        return True

    def _compute_apart(self, options: EmbedOptions, items: Sequence[Item]) -> None:
        """Each protein by itself, so that one which cannot be embedded takes no other with it."""
        for request, record in items:
            if request.has_left:
                continue
            try:
                request.settle(self._model.embed(options, [record])[0])
            except UserError as error:
                request.fail(error)
            except Exception:
                log.exception("a protein failed")
                request.fail(FailedError("the model failed"))

    def _measure(self, batch: Batch, seconds: float) -> None:
        rate = batch.num_tokens / max(seconds, 1e-6)
        self._rate = 0.8 * self._rate + 0.2 * rate
        requests = {id(request) for request, _ in batch.items}
        self._on_batch(BatchFacts(len(batch.items), len(requests), batch.num_tokens, seconds))


def give_way(niceness: int) -> None:
    """Let this thread, and those it starts, leave the processor to others first; where the system knows that."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        except OSError:
            log.debug("this thread keeps its priority")
