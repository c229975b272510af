"""How well scores of variants agree with measured effects, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.tasks.interval import Interval, interval_of_choices
from openankh.tasks.metrics import area_of_codes, order_codes, spearman_of_codes
from openankh.tasks.table import Table

FEWEST = 3


@dataclass(frozen=True)
class EffectAgreement:
    """Spearman's correlation, and the area under the ROC curve for telling the fitter class from the rest; `num`
    variants have both numbers.
    """

    spearman: Interval
    area: Interval
    num: int


def effect_agreement(
    scores_N: NDArray[np.floating], measured_N: NDArray[np.floating], is_fit_N: NDArray[np.bool_] | None = None
) -> EffectAgreement:
    """Of scores and measured effects, higher being fitter; the fitter class is what is above the median, unless given.

    Intervals are of 1,000 resamplings of the variants. Those that were not measured are left out.
    """
    is_known = np.isfinite(measured_N)
    scores, measured = order_codes(scores_N[is_known]), order_codes(measured_N[is_known])
    above = measured_N[is_known] > np.median(measured_N[is_known]) if is_fit_N is None else is_fit_N[is_known]
    num = len(scores)
    rho = interval_of_choices(num, lambda chosen: spearman_of_codes(scores[chosen], measured[chosen]))
    area = interval_of_choices(num, lambda chosen: area_of_codes(scores[chosen], above[chosen]))
    return EffectAgreement(rho, area, num)


def measured_effects(table: Table, column: str) -> NDArray[np.float64]:
    """The numbers of a column, not a number where a cell is empty; UserError naming the line of any other text."""
    values = [_number(table, column, cell, line) for cell, line in zip(table.column(column), table.lines, strict=True)]
    _require_enough(table, column, values)
    return np.array(values, np.float64)


def _number(table: Table, column: str, cell: str, line: int) -> float:
    if cell.lower() in ("", "na", "nan"):
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = float("inf")
    if not np.isfinite(value):
        raise UserError(
            f"{table.name}, line {line}: {column} is {cell[:40]!r}; give a number, or nothing where none was measured"
        )
    return value


def _require_enough(table: Table, column: str, values: Sequence[float]) -> None:
    num = int(np.isfinite(values).sum())
    if num < FEWEST:
        raise UserError(f"{table.name}: {column} has {num} numbers; at least {FEWEST} are needed to compare with")
