"""Requests that wait for the model, and which of their proteins go into the next batch together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record

Array = NDArray[np.floating]
Told = Callable[[int, int], None]
"""Told how many of how many proteins are done."""

ADDED = 2
"""Tokens that come to each protein's residues at most."""


@dataclass(eq=False)
class Request:
    """Proteins that are to be embedded alike; `future` gets their arrays in order, or is cancelled by who has left."""

    records: Sequence[Record]
    options: EmbedOptions
    future: "Future[list[Array]]" = field(default_factory=Future)
    told: Told | None = None
    residues_left: int = field(init=False)
    _next: int = 0
    _arrays: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.records, "a request has proteins"
        self.residues_left = sum(len(record.sequence) for record in self.records)

    @property
    def has_left(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()

    @property
    def is_taken(self) -> bool:
        """Whether all its proteins are in batches."""
        return self._next == len(self.records)

    def peek(self) -> Record | None:
        """The protein that comes next."""
        return None if self.is_taken else self.records[self._next]

    def take(self) -> Record:
        """Take that protein into a batch."""
        record = self.records[self._next]
        self._next += 1
        self.residues_left -= len(record.sequence)
        return record

    def settle(self, array: Array) -> None:
        """Give it the array of its next protein."""
        self._arrays.append(array)
        if self.has_left:
            return
        if self.told:
            self.told(len(self._arrays), len(self.records))
        if len(self._arrays) == len(self.records):
            give(self.future, self._arrays)

    def fail(self, error: BaseException) -> None:
        """Say why it will get none."""
        if not self.has_left and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


def give(future: "Future[list[Array]]", arrays: list[Array]) -> None:
    """Set a future's result, unless it was cancelled meanwhile."""
    if future.set_running_or_notify_cancel():
        future.set_result(arrays)


def tokens_of(record: Record) -> int:
    """About how many tokens the model reads for a protein."""
    return len(record.sequence) + ADDED


Item = tuple[Request, Record]
"""A protein in a batch, with the request that it belongs to."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Proteins of one token budget, all embedded with the same options, in one or two parts computed in this order."""

    options: EmbedOptions
    parts: tuple[tuple[Item, ...], ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them."""
        return tuple(item for part in self.parts for item in part)

    @property
    def num_tokens(self) -> int:
        """Of all its proteins."""
        return sum(tokens_of(record) for _, record in self.items)


class Line:
    """The waiting requests. Options take turns, so that no kind of request waits for the end of another's.

    Half of a batch goes to the requests with the least left to do and is computed and answered first, so that a single
    short protein is soon through however many long ones wait; half to those that came first, which therefore end.
    """

    def __init__(self) -> None:
        self._requests: dict[EmbedOptions, list[Request]] = {}
        self.num_residues = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    def __len__(self) -> int:
        return sum(map(len, self._requests.values()))

    def add(self, request: Request) -> None:
        """Let a request wait."""
        self._requests.setdefault(request.options, []).append(request)
        self.num_residues += request.residues_left

    def options_next(self) -> EmbedOptions | None:
        """Whose turn it is, after those who have left are out."""
        for options in list(self._requests):
            self._leave_out(options)
        return next(iter(self._requests), None)

    def batch(self, options: EmbedOptions, max_tokens: int) -> Batch:
        """The next batch of these options, which then come last: at most `max_tokens`, or one longer protein."""
        requests = self._requests.pop(options)
        parts = _parts(requests, max_tokens)
        self.num_residues -= sum(len(record.sequence) for part in parts for _, record in part)
        left = [request for request in requests if not request.is_taken]
        if left:
            self._requests[options] = left
        return Batch(options, tuple(tuple(part) for part in parts if part))

    def clear(self) -> list[Request]:
        """Take out all requests."""
        requests = [request for several in self._requests.values() for request in several]
        self._requests.clear()
        self.num_residues = 0
        return requests

    def _leave_out(self, options: EmbedOptions) -> None:
        """Drop requests that nobody waits for."""
        kept = []
        for request in self._requests[options]:
            if request.has_left:
                self.num_residues -= request.residues_left
            else:
                kept.append(request)
        if kept:
            self._requests[options] = kept
        else:
            del self._requests[options]


def _parts(requests: Sequence[Request], max_tokens: int) -> list[list[Item]]:
    """Those with the least left, then those that came first."""
    first = requests[0].peek()
    assert first is not None
    left = max_tokens - tokens_of(first)  # what whoever waits longest leaves to others
    quick = list(_filling(sorted(requests, key=lambda each: each.residues_left), min(max_tokens // 2, left)))
    room = max_tokens - sum(tokens_of(record) for _, record in quick)
    if not quick and left < 0:
        return [[(requests[0], requests[0].take())]]
    return [quick, list(_filling(requests, room))]


def _filling(requests: Iterable[Request], room: int) -> Iterator[Item]:
    """The proteins of these requests, in order, as long as they fit."""
    for request in requests:
        while (record := request.peek()) is not None and tokens_of(record) <= room:
            room -= tokens_of(record)
            yield request, request.take()
        if room <= ADDED:
            return
