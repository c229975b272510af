"""Random numbers that are a function of a seed and of what they are for: nobody's draws depend on anybody else's."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_STEP, _FIRST, _SECOND = (np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def seed_of(seed: int, content: bytes) -> int:
    """A seed of 64 bits for this content, such as a prompt, under a user's seed."""
    digest = hashlib.sha256(seed.to_bytes(16, "little", signed=True) + content).digest()
    return int.from_bytes(digest[:8], "little")


def uniforms(seeds: NDArray[np.uint64], *counters: NDArray[np.integer]) -> NDArray[np.float64]:
    """A number between 0 and 1, both excluded, for each seed and counters, which are broadcast against each other."""
    with np.errstate(over="ignore"):
        mixed = _mix(np.atleast_1d(seeds.astype(np.uint64)))
        for counter in counters:
            mixed = _mix(mixed ^ _mix(np.atleast_1d(counter).astype(np.uint64)))
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's step: every bit of the result depends on every bit."""
    numbers = numbers + _STEP
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))
