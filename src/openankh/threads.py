"""Threads that each keep to one core: work in independent pieces then needs no waiting at every operation.

torch splits each operation over its threads and lets them wait for each other; small operations gain little from that,
and on a machine with other users each wait may be a long one.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of each item, in order; as many at a time as torch has threads here, each on one of them, no gradients."""
    if torch.get_num_threads() == 1:
        return [work(item) for item in items]
    is_inference = torch.is_inference_mode_enabled()

    def work_as_here(item: Item) -> Result:
        with torch.inference_mode(is_inference), torch.no_grad():
            return work(item)

    return list(_pool(torch.get_num_threads(), os.getpid()).map(work_as_here, items))


@lru_cache(maxsize=2)
def _pool(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads for which torch's operations run on one core; the caller's own number of threads stays what it is.

    A forked process has none of its parent's threads, hence `process`.
    """
    pool = ThreadPoolExecutor(num_threads, "openankh-core", initializer=_keep_to_one_core)
    all_there = Barrier(num_threads)
    for ready in [pool.submit(all_there.wait) for _ in range(num_threads)]:
        ready.result()
    torch.set_num_threads(num_threads)  # each thread has a number of its own, but all share the one they begin with
    return pool


def _keep_to_one_core() -> None:
    torch.get_num_threads()  # a thread takes over the number it begins with when it first asks: before, not after
    torch.set_num_threads(1)
