"""Writes for many proteins at once: as one is finished, the next takes its place.

G proteins at work, B rows of each.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.decoding import Source
from openankh.generation.beams import BeamSearch
from openankh.generation.board import Board
from openankh.generation.job import Job, Written
from openankh.generation.method import Method
from openankh.generation.reader import MOST_TOKENS, Reader
from openankh.generation.sampler import Sampler

MOST_ROWS = 64
"""Rows at work, unless one protein has more; beyond, a step's time grows as their number does."""

MOST_SAMPLES = 32
"""Rows of one protein that are at work together."""

LOOK_AHEAD = 8
"""How many times the rows at work may wait, read but not begun or finished but not yet given on."""


class Chooser(Protocol):
    """Makes the choices of all rows at work: `Sampler` or `BeamSearch`."""

    board: Board

    def add(self, jobs: Sequence[Job]) -> None:
        """Begin with more proteins."""
        ...

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these alone."""
        ...

    def choose(self, logits_GBV: NDArray[np.float32]) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
        """The next choices; the row each goes on from, if not from itself, and which proteins are finished."""
        ...

    def results(self, number: int) -> list[Written]:
        """What was written for a finished protein."""
        ...


def write(reader: Reader, jobs: Iterable[Job], method: Method, most_rows: int = MOST_ROWS) -> Iterator[list[Written]]:
    """What is written for each job, in order: its results, best first where they were searched, else as drawn.

    All jobs want as many results, and all scripts read as many tokens a step. Jobs are taken as they are needed, a
    bounded number ahead.
    """
    if method.has_beams:
        yield from _Writing(reader, jobs, BeamSearch(method), most_rows).results()
        return
    queue = iter(jobs)
    first = next(queue, None)
    if first is not None:
        yield from _write_samples(reader, chain([first], queue), method, first.num, most_rows)


def _write_samples(
    reader: Reader, jobs: Iterable[Job], method: Method, num: int, most_rows: int
) -> Iterator[list[Written]]:
    """The same without beams: many samples of a protein are written as several parts of it, all of one size."""
    num_rows = -(-num // -(-num // min(MOST_SAMPLES, most_rows)))
    pieces = (piece for job in jobs for piece in _pieces(job, num, num_rows))
    written = _Writing(reader, pieces, Sampler(method, num_rows), most_rows).results()
    while parts := list(islice(written, -(-num // num_rows))):
        yield [result for part in parts for result in part]


def _pieces(job: Job, num: int, num_rows: int) -> Iterator[Job]:
    assert job.num == num, "all jobs have as many results"
    for first in range(0, num, num_rows):
        part = min(num_rows, num - first)
        yield Job(job.inputs, job.script, part, job.seed, job.first_sample + first, job.first_choice)


class _Writing:
    """The loop: read ahead, begin, choose, give on what is finished."""

    def __init__(self, reader: Reader, jobs: Iterable[Job], chooser: Chooser, most_rows: int) -> None:
        self._reader, self._jobs, self._chooser = reader, enumerate(jobs), chooser
        self._decoding = reader.decoder.begin(chooser.board.num_rows)
        self._most = max(most_rows // chooser.board.num_rows, 1)
        self._waiting: deque[tuple[int, Job, Source]] = deque()
        self._numbers: list[int] = []
        self._finished: dict[int, list[Written]] = {}

    def results(self) -> Iterator[list[Written]]:
        """What was written for each job, in order."""
        next_number = 0
        while True:
            self._begin_more()
            if not self._numbers:
                return
            self._step()
            while next_number in self._finished:
                yield self._finished.pop(next_number)
                next_number += 1

    def _begin_more(self) -> None:
        """Fill free places, several at a time, for each time the others are arranged anew."""
        free = self._most - len(self._numbers)
        if free < max(self._most // 8, 1) or len(self._finished) > LOOK_AHEAD * self._most:
            return
        if not self._waiting:
            self._read_ahead()
        taken = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        if taken:
            jobs = [job for _, job, _ in taken]
            self._numbers += [number for number, _, _ in taken]
            self._chooser.add(jobs)
            self._decoding.add([source for _, _, source in taken], [job.script.num_tokens for job in jobs])

    def _read_ahead(self) -> None:
        taken: list[tuple[int, Job]] = []
        while len(taken) < self._most and sum(len(job.inputs) for _, job in taken) < MOST_TOKENS:
            following = next(self._jobs, None)
            if following is None:
                break
            taken.append(following)
        sources = self._reader.read([job.inputs for _, job in taken])
        self._waiting.extend((number, job, source) for (number, job), source in zip(taken, sources, strict=True))

    def _step(self) -> None:
        parents, is_finished = self._chooser.choose(self._decoding.step(self._chooser.board.feed()))
        if parents is not None:
            self._decoding.reorder(parents)
        if not is_finished.any():
            return
        for number in np.flatnonzero(is_finished).tolist():
            self._finished[self._numbers[number]] = self._chooser.results(number)
        staying = np.flatnonzero(~is_finished).tolist()
        self._numbers = [self._numbers[number] for number in staying]
        self._chooser.keep(staying)
        self._decoding.keep(staying)
