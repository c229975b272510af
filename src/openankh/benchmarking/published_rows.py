"""What others reached, as published: kept as data, never measured here."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class PublishedColumn:
    """Published figures of one test set, by who reached them: per cent, but correlations.

    `test` and `metric` name the column of ours they stand beside, "" where that test set is not measured here; `same`
    is whether it is the same test set.
    """

    column: str
    test: str
    metric: str
    same: bool
    values: Mapping[str, float]


@cache
def published_columns(task: str) -> tuple[PublishedColumn, ...]:
    """What was published for a task."""
    return tuple(PublishedColumn(**found) for found in _read().get(task, ()))


def published_source() -> str:
    """Where the figures are from."""
    return _read()["source"]


@cache
def _read() -> dict:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
