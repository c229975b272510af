"""Beam search: the best hypotheses of each protein are followed at once, or some drawn without replacement.

As in transformers' `generate`: of 2 B candidates the B best that go on are followed; those among the first B that end
compete for B places by their score, log-probability / length ** penalty. G proteins, B beams, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.generation.board import Board, Kind
from openankh.generation.job import Job, Written
from openankh.generation.method import Method
from openankh.generation.probabilities import log_softmax, warp
from openankh.generation.randomness import uniforms
from openankh.vocab import EOS

HOPELESS = -1e9
"""What a hypothesis is worth that is there only to fill a place."""


@dataclass(frozen=True, eq=False)
class _Candidates:
    """2 B hypotheses of each protein, one token longer, best (or first drawn) first; each field (G, 2 B)."""

    scores: NDArray[np.float64]
    parents: NDArray[np.int64]
    tokens: NDArray[np.int64]
    log_probs: NDArray[np.float64]

    def take(self, places: NDArray[np.int64]) -> "_Candidates":
        """Some of them."""

        def taken(field_GN: NDArray[Kind]) -> NDArray[Kind]:
            return np.take_along_axis(field_GN, places, axis=1)

        return _Candidates(taken(self.scores), taken(self.parents), taken(self.tokens), taken(self.log_probs))


class BeamSearch:
    """The beams of every protein at work; a result is a finished hypothesis."""

    def __init__(self, method: Method) -> None:
        self.board = Board(method.num_beams)
        self._method = method
        self._scores = np.zeros((0, method.num_beams))
        self._finished: list[list[Written]] = []

    def add(self, jobs: Sequence[Job]) -> None:
        """Begin with more proteins; of each only the first row counts, for all are still the same."""
        self.board.add(jobs)
        scores = np.full((len(jobs), self.board.num_rows), HOPELESS)
        scores[:, 0] = 0
        self._scores = np.concatenate([self._scores, scores])
        self._finished += [[] for _ in jobs]

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these alone."""
        self.board.keep(numbers)
        self._scores = self._scores[np.array(numbers, np.int64)]
        self._finished = [self._finished[number] for number in numbers]

    def choose(self, logits_GBV: NDArray[np.float32]) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
        """Make the next choice of every protein's beams; (the row each goes on from (G, B), who is finished (G,))."""
        log_probs_GBV = log_softmax(logits_GBV)
        candidates = self._candidates(self._warped(log_probs_GBV), log_probs_GBV)
        is_last_G = self.board.is_last
        ends = (candidates.tokens == EOS) | is_last_G[:, None]
        for number in np.flatnonzero(ends.any(1)).tolist():
            self._finish(number, candidates, ends[number])
        running = candidates.take(_best(candidates.scores + ends * HOPELESS, self.board.num_rows))
        self._scores = running.scores + (is_last_G | ends.all(1))[:, None] * HOPELESS
        self.board.reorder(running.parents)
        self.board.record(running.tokens, running.log_probs)
        done = [self._is_done(number) for number in range(len(self.board.jobs))]
        return running.parents, is_last_G | ends.all(1) | np.array(done, bool)

    def results(self, number: int) -> list[Written]:
        """The best finished hypotheses of a protein, best first."""
        return self._finished[number][: self.board.jobs[number].num]

    def _warped(self, log_probs_GBV: NDArray[np.float32]) -> NDArray[np.float32]:
        """The log-probabilities that hypotheses add up, -inf for what may not be chosen."""
        allowed = np.where(self.board.masks(), log_probs_GBV, -np.inf).astype(np.float32)
        return warp(log_softmax(allowed), self._method) if self._method.is_warped else allowed

    def _candidates(self, warped_GBV: NDArray[np.float32], log_probs_GBV: NDArray[np.float32]) -> _Candidates:
        num_proteins, num_rows, num_tokens = warped_GBV.shape
        scores = (warped_GBV + self._scores[:, :, None]).reshape(num_proteins, -1)
        keys = scores + self._noise(scores.shape) if self._method.is_drawn else scores
        places = _best(keys, 2 * num_rows)
        return _Candidates(
            scores=np.take_along_axis(scores, places, axis=1),
            parents=places // num_tokens,
            tokens=places % num_tokens,
            log_probs=np.take_along_axis(log_probs_GBV.reshape(num_proteins, -1), places, axis=1).astype(np.float64),
        )

    def _noise(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Gumbel noise: the best of log-probabilities plus it are a sample without replacement."""
        jobs = self.board.jobs
        seeds_G1 = np.array([job.seed for job in jobs], np.uint64)[:, None]
        choices_G1 = (np.array([job.first_choice for job in jobs]) + self.board.choices)[:, None]
        samples_G1 = np.array([job.first_sample for job in jobs])[:, None]
        return -np.log(-np.log(uniforms(seeds_G1, samples_G1, choices_G1, np.arange(shape[1])[None])))

    def _finish(self, number: int, candidates: _Candidates, ends: NDArray[np.bool_]) -> None:
        """Let those that end, of the first B, compete for the places of finished hypotheses."""
        method, length = self._method, int(self.board.choices[number]) + 1
        found = self._finished[number]
        for place in np.flatnonzero(ends[: method.num_beams]).tolist():
            if candidates.scores[number, place] > HOPELESS / 2:
                found.append(self._written(number, candidates, place, length))
        found.sort(key=lambda written: -written.score)
        del found[method.num_beams :]

    def _written(self, number: int, candidates: _Candidates, place: int, length: int) -> Written:
        parent, token = candidates.parents[number, place], int(candidates.tokens[number, place])
        score = float(candidates.scores[number, place]) / length**self._method.length_penalty
        tokens = self.board.tokens[number, parent, : length - 1]
        log_probs = self.board.log_probs[number, parent, : length - 1]
        last = float(candidates.log_probs[number, place])
        if token == EOS:
            return Written(tokens.copy(), log_probs.copy(), True, score, last)
        return Written(np.append(tokens, token), np.append(log_probs, last), False, score)

    def _is_done(self, number: int) -> bool:
        """Whether, by transformers' rule, none that goes on can still be better than the worst finished one."""
        found = self._finished[number]
        if len(found) < self._method.num_beams:
            return False
        best = self._scores[number, 0] / int(self.board.choices[number]) ** self._method.length_penalty
        return self._method.stop_early or best <= found[-1].score


def _best(scores: NDArray[np.float64], num: int) -> NDArray[np.int64]:
    """The places of the `num` highest of each row, highest first, of equal ones the first first."""
    if num < scores.shape[1]:
        places = np.sort(np.argpartition(-scores, num - 1, axis=1)[:, :num], axis=1)
    else:
        places = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
