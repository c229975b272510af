"""What has been chosen so far of every protein at work, row by row.

G proteins, B rows of each, L choices at most, C tokens a step, V vocabulary.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from openankh.generation.job import Job
from openankh.generation.script import without

Kind = TypeVar("Kind", bound=np.generic)


class Board:
    """`tokens` and `log_probs` (G, B, L) of the choices made, `choices` (G,) how many those are."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self.jobs: list[Job] = []
        self.choices = np.zeros(0, np.int64)
        self.tokens = np.zeros((0, num_rows, 0), np.int64)
        self.log_probs = np.zeros((0, num_rows, 0), np.float64)
        self._outstanding: list[list[tuple[int, ...]]] = []

    def add(self, jobs: Sequence[Job]) -> None:
        """Begin with more proteins."""
        self.jobs += jobs
        self.choices = np.append(self.choices, np.zeros(len(jobs), np.int64))
        self._outstanding += [[job.script.required] * self.num_rows for job in jobs]
        room = max(len(job.script) for job in self.jobs)
        self.tokens = _grown(self.tokens, len(self.jobs), room)
        self.log_probs = _grown(self.log_probs, len(self.jobs), room)
        self._arrange()

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these alone, in this order."""
        chosen = np.array(numbers, np.int64)
        self.jobs = [self.jobs[number] for number in numbers]
        self._outstanding = [self._outstanding[number] for number in numbers]
        room = max((len(job.script) for job in self.jobs), default=0)
        self.choices = self.choices[chosen]
        self.tokens, self.log_probs = self.tokens[chosen, :, :room], self.log_probs[chosen, :, :room]
        self._arrange()

    def masks(self) -> NDArray[np.bool_]:
        """What each row may choose now, (G, B, V), or (G, 1, V) where it is the same for all rows."""
        if not self._is_required:
            return self._masks[self._mask_of[np.arange(len(self.jobs)), self.choices]][:, None]
        return np.stack(
            [
                np.stack([job.script.allowed(choice, outstanding) for outstanding in rows])
                for job, choice, rows in zip(self.jobs, self.choices.tolist(), self._outstanding, strict=True)
            ]
        )

    def reorder(self, parents_GB: NDArray[np.int64]) -> None:
        """Row b goes on from row `parents[b]`."""
        for each in (self.tokens, self.log_probs):
            made = each[:, :, : self.choices.max(initial=0)]
            made[...] = np.take_along_axis(made, parents_GB[:, :, None], axis=1)
        if not self._is_required:
            return
        self._outstanding = [
            rows if not job.script.required else [rows[parent] for parent in parents]
            for job, rows, parents in zip(self.jobs, self._outstanding, parents_GB.tolist(), strict=True)
        ]

    def record(self, tokens_GB: NDArray[np.int64], log_probs_GB: NDArray[np.floating]) -> None:
        """Each row makes one more choice."""
        numbers = np.arange(len(self.jobs))
        self.tokens[numbers, :, self.choices] = tokens_GB
        self.log_probs[numbers, :, self.choices] = log_probs_GB
        self.choices += 1
        if not self._is_required:
            return
        for job, rows, tokens in zip(self.jobs, self._outstanding, tokens_GB.tolist(), strict=True):
            if job.script.required:
                rows[:] = [without(outstanding, token) for outstanding, token in zip(rows, tokens, strict=True)]

    def feed(self) -> NDArray[np.int64]:
        """What the decoder reads next, (G, B, C): the first tokens, or the last choice and what follows it."""
        numbers, before = np.arange(len(self.jobs)), np.maximum(self.choices - 1, 0)
        feed_GBC = np.empty((len(self.jobs), self.num_rows, self._firsts.shape[1]), np.int64)
        feed_GBC[:, :, 0] = self.tokens[numbers, :, before]
        feed_GBC[:, :, 1:] = self._tails[numbers, before][:, None]
        begins = self.choices == 0
        feed_GBC[begins] = self._firsts[begins][:, None]
        return feed_GBC

    @property
    def is_last(self) -> NDArray[np.bool_]:
        """Whether the next choice is a protein's last, (G,)."""
        return self.choices + 1 == self._lengths

    def _arrange(self) -> None:
        """Lay what the scripts say side by side, so that a step looks it up for all proteins at once."""
        scripts = [job.script for job in self.jobs]
        self._lengths = np.array([len(script) for script in scripts], np.int64)
        self._is_required = any(script.required for script in scripts)
        if not scripts:
            return
        self._firsts = np.stack([script.first for script in scripts])
        longest, offset = int(self._lengths.max()), 0
        self._tails = np.zeros((len(scripts), longest, self._firsts.shape[1] - 1), np.int64)
        self._mask_of = np.zeros((len(scripts), longest), np.int64)
        for number, script in enumerate(scripts):
            self._tails[number, : len(script)] = script.tails
            self._mask_of[number, : len(script)] = script.mask_of[: len(script)] + offset
            offset += len(script.masks)
        self._masks = np.concatenate([script.masks for script in scripts])


def _grown(array: NDArray[Kind], num_proteins: int, room: int) -> NDArray[Kind]:
    grown = np.zeros((num_proteins, array.shape[1], room), array.dtype)
    grown[: len(array), :, : array.shape[2]] = array
    return grown
