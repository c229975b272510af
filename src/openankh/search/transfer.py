"""Labels of neighbours as predictions for a query, each with how far such a neighbour's label can be trusted.

N proteins searched, S of them taken for queries, K neighbours each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.search.identity import Exclusion, OwnPlace
from openankh.search.labels import LabelColumn
from openankh.search.levels import Levels, levels_of
from openankh.search.nearest_pairs import Neighbours
from openankh.search.reliability import Calibration, Reliability, calibrate
from openankh.search.vectors import Vectors

MIN_CALIBRATING, MAX_CALIBRATING = 500, 5000
_CALIBRATING_PAIRS = 2_000_000_000


class Search(Protocol):
    """A way to find neighbours: exact or approximate."""

    vectors: Vectors

    def search(self, queries_QD: NDArray[np.floating], num: int, exclusion: Exclusion | None = None) -> Neighbours:
        """The `num` nearest of each query."""
        ...


@dataclass(frozen=True)
class Transfer:
    """A neighbour's label of one kind ("" for none) and, by level, how far it can be trusted for the query."""

    name: str
    label: str
    reliability: tuple[tuple[str, Reliability], ...]


class LabelTransfer:
    """Turns neighbours into predictions; calibrated once, for as many neighbours as will be asked for.

    The calibration takes up to 5,000 labelled proteins (fewer where there are millions) for queries against all others,
    and keeps apart the nearest neighbour, the second, and so on. A protein whose label nobody else has counts as
    disagreement, as it would for a query of a kind never seen.
    """

    def __init__(self, columns: Sequence[LabelColumn], search: Search, num: int) -> None:
        self._columns = columns
        self._levels = [levels_of(column.name, column.values) for column in columns]
        queries = _calibrating_places(columns)
        found = search.search(search.vectors.rows(queries), num, OwnPlace(queries))
        self._calibrations = [
            [_calibrations(column, levels, level, queries, found) for level in range(len(levels.names))]
            for column, levels in zip(columns, self._levels, strict=True)
        ]

    @property
    def names(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each kind of label with the names of its levels ("" where it has none)."""
        return tuple((column.name, levels.names) for column, levels in zip(self._columns, self._levels, strict=True))

    def of(self, place: int, rank: int, distance: float) -> tuple[Transfer, ...]:
        """What the neighbour at `place`, of this rank (from 0) and distance, says of its query."""
        return tuple(
            Transfer(column.name, column.values[place], self._reliability(at, place, rank, distance))
            for at, column in enumerate(self._columns)
        )

    def _reliability(self, at: int, place: int, rank: int, distance: float) -> tuple[tuple[str, Reliability], ...]:
        levels, label = self._levels[at], self._columns[at].values[place]
        return tuple(
            (name, self._calibrations[at][level][rank].at(distance))
            for level, name in enumerate(levels.names)
            if levels.cut(label, level)
        )


def _calibrating_places(columns: Sequence[LabelColumn]) -> NDArray[np.intp]:
    """The places of the proteins that are taken for queries: all labelled ones, or a sample of them."""
    labelled = np.flatnonzero([any(labels) for labels in zip(*(column.values for column in columns), strict=True)])
    most = _CALIBRATING_PAIRS // max(len(columns[0].values), 1)
    most = min(max(most, MIN_CALIBRATING), MAX_CALIBRATING)
    if len(labelled) <= most:
        return labelled
    return np.sort(np.random.default_rng(0).choice(labelled, most, replace=False))


def _calibrations(
    column: LabelColumn, levels: Levels, level: int, queries: NDArray[np.intp], found: Neighbours
) -> list[Calibration]:
    """One calibration for each rank, of pairs that are both labelled at this level."""
    known, own = np.unique(np.concatenate([queries, found.places.ravel()]), return_inverse=True)
    cut = np.array([levels.cut(column.values[place], level) if place >= 0 else "" for place in known])
    labels_S, labels_SK = cut[own[: len(queries)]], cut[own[len(queries) :]].reshape(found.places.shape)
    made = []
    for rank in range(found.places.shape[1]):
        counts = (labels_S != "") & (labels_SK[:, rank] != "")
        made.append(calibrate(found.distances[counts, rank], (labels_S == labels_SK[:, rank])[counts]))
    return made
