"""How a batch of proteins is divided among threads: whole proteins each, and in common those too long for that.

Threads that run whole proteins through all layers wait for each other once a batch instead of at every operation.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openankh.attention import Documents

SMALLEST, LARGEST = 256, 1024
"""Tokens a share has at least, if its proteins are shorter, and at most, if they are not longer."""

LENGTH_OF_TWICE = 6000
"""Tokens of a protein at about which attention costs as much as all else."""

IDLE = 1.1
"""How much longer than with nobody idle threads may take, before the longest protein is run in common."""


@dataclass(frozen=True)
class Share:
    """Some documents of a batch, by their numbers, in the batch's order."""

    numbers: tuple[int, ...]

    def documents(self, batch: Documents) -> Documents:
        """Their boundaries when packed by themselves."""
        return Documents.of_lengths([batch.offsets[n + 1] - batch.offsets[n] for n in self.numbers])

    def rows(self, batch: Documents) -> Tensor:
        """Their tokens' places in the batch, int64."""
        spans = [torch.arange(batch.offsets[n], batch.offsets[n + 1]) for n in self.numbers]
        return torch.cat(spans) if spans else torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Plan:
    """`common` is for all threads together, each of `apart` for one, those that take longest first."""

    common: Share
    apart: tuple[Share, ...]


def plan_of(documents: Documents, num_threads: int) -> Plan:
    """Divide a batch; for one thread, or where a protein takes most of the time, all is in common."""
    lengths = [end - start for start, end in documents]
    longest_first = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    groups: list[list[int]] = []
    num_common = len(lengths) if num_threads == 1 else 0
    while num_common < len(lengths):
        groups = _groups(longest_first[num_common:], lengths, num_threads)
        if _balanced([_cost(group, lengths) for group in groups], num_threads):
            break
        groups = []
        num_common += 1
    return Plan(_share(longest_first[:num_common]), tuple(_share(group) for group in groups))


def _share(numbers: Sequence[int]) -> Share:
    return Share(tuple(sorted(numbers)))


def _groups(longest_first: Sequence[int], lengths: Sequence[int], num_threads: int) -> list[list[int]]:
    """Documents in groups of about equal size, the most costly first."""
    num_tokens = sum(lengths[number] for number in longest_first)
    room = min(max(num_tokens // (4 * num_threads), SMALLEST), LARGEST)
    groups: list[list[int]] = []
    left = 0
    for number in longest_first:
        if not groups or lengths[number] > left:
            groups.append([])
            left = room
        groups[-1].append(number)
        left -= lengths[number]
    return sorted(groups, key=lambda group: -_cost(group, lengths))


def _cost(numbers: Sequence[int], lengths: Sequence[int]) -> float:
    return sum(lengths[number] * (1 + lengths[number] / LENGTH_OF_TWICE) for number in numbers)


def _balanced(costs: Sequence[float], num_threads: int) -> bool:
    """Whether threads that take the next share when they have done one end at about the same time."""
    ends = [0.0] * num_threads
    for cost in costs:
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends) <= IDLE * sum(costs) / num_threads
