"""Writing row by row: each takes its likeliest token or draws one, and knows nothing of the others.

G proteins, B rows of each, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openankh.generation.board import Board
from openankh.generation.job import Job, Written
from openankh.generation.method import Method
from openankh.generation.probabilities import draw, log_softmax, warp
from openankh.generation.randomness import uniforms
from openankh.vocab import EOS


class Sampler:
    """A row a result, for the methods without beams."""

    def __init__(self, method: Method, num_rows: int) -> None:
        self.board = Board(num_rows)
        self._method = method
        self._ends = np.zeros((0, num_rows), np.int64)  # how many tokens a row has written when it ends; 0: it has not

    def add(self, jobs: Sequence[Job]) -> None:
        """Begin with more proteins."""
        self.board.add(jobs)
        self._ends = np.concatenate([self._ends, np.zeros((len(jobs), self.board.num_rows), np.int64)])

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these alone."""
        self.board.keep(numbers)
        self._ends = self._ends[np.array(numbers, np.int64)]

    def choose(self, logits_GBV: NDArray[np.float32]) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
        """Make the next choice of every row; (no parents, which proteins are finished (G,))."""
        log_probs_GBV = log_softmax(logits_GBV)
        tokens_GB = self._tokens(np.where(self.board.masks(), log_probs_GBV, -np.inf).astype(np.float32))
        is_last_G1 = self.board.is_last[:, None]
        chosen_GB = np.take_along_axis(log_probs_GBV, tokens_GB[:, :, None], axis=2)[:, :, 0]
        self.board.record(tokens_GB, chosen_GB)
        ends_now = (self._ends == 0) & ((tokens_GB == EOS) | is_last_G1)
        self._ends = np.where(ends_now, self.board.choices[:, None], self._ends)
        return None, np.all(self._ends > 0, axis=1)

    def results(self, number: int) -> list[Written]:
        """What was written for a finished protein."""
        job = self.board.jobs[number]
        return [self._result(number, row) for row in range(job.num)]

    def _result(self, number: int, row: int) -> Written:
        end = self._ends[number, row]
        tokens, log_probs = self.board.tokens[number, row, :end].copy(), self.board.log_probs[number, row, :end].copy()
        if tokens[-1] == EOS:
            return Written(tokens[:-1], log_probs[:-1], True, float(log_probs.sum()), float(log_probs[-1]))
        return Written(tokens, log_probs, False, float(log_probs.sum()))

    def _tokens(self, allowed_GBV: NDArray[np.float32]) -> NDArray[np.int64]:
        if self._method.name == "greedy":
            return allowed_GBV.argmax(-1)
        jobs, board = self.board.jobs, self.board
        seeds_G1 = np.array([job.seed for job in jobs], np.uint64)[:, None]
        samples_GB = np.array([job.first_sample for job in jobs])[:, None] + np.arange(board.num_rows)
        choices_G1 = (np.array([job.first_choice for job in jobs]) + board.choices)[:, None]
        return draw(warp(log_softmax(allowed_GBV), self._method), uniforms(seeds_G1, samples_GB, choices_G1))
