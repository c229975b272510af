"""The plot of a benchmark: a panel a test set, models beside baselines, with intervals."""

import math
from pathlib import Path
from typing import Any

from openankh.benchmarking.cell import Kind
from openankh.benchmarking.findings import Findings, Row, TestTable
from openankh.benchmarking.published_rows import published_columns
from openankh.files import atomic_file

_COLOURS: dict[Kind, str] = {"model": "#0072B2", "random": "#E69F00", "baseline": "#777777", "shuffled": "#CC79A7"}
_PUBLISHED = "#009E73"
_MOST_COLUMNS = 3
_NAMES: dict[Kind, str] = {
    "model": "the model",
    "random": "its network with random weights",
    "baseline": "letters alone",
    "shuffled": "the model taught shuffled labels",
}
_LONGEST_NAME = 44


def draw(findings: Findings, path: Path) -> None:
    """Write it as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    num_columns = min(len(findings.tables), _MOST_COLUMNS)
    num_rows = math.ceil(len(findings.tables) / num_columns)
    most = max(len(table.rows) for table in findings.tables)
    figure = Figure(figsize=(6.6 * num_columns, 0.6 + num_rows * (1.3 + 0.24 * most)), dpi=110, layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, table in zip(panels, findings.tables, strict=False):
        _draw_table(axes, table)
    for axes in panels[len(findings.tables) :]:
        axes.axis("off")
    figure.suptitle("Heads on frozen rows; bars are 95 % intervals over test proteins", fontsize=11)
    handles: list[Any] = [
        Line2D([], [], color=colour, marker="o", label=_NAMES[kind]) for kind, colour in _COLOURS.items()
    ]
    handles.append(Patch(color=_PUBLISHED, alpha=0.2, label="published, Ankh and others"))
    figure.legend(handles=handles, loc="outside lower center", ncols=num_columns, fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _draw_table(axes: Any, table: TestTable) -> None:
    rows = [row for row in table.rows if row.value is not None]
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
    for column in published_columns(table.task):
        if (column.test, column.metric) == (table.test, table.metric) and column.same:
            _draw_published(axes, column.values, is_share=table.metric != "spearman")
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=7)
    axes.invert_yaxis()
    trial = " (quick trial)" if table.limit is not None else ""
    axes.set_title(f"{table.task}, {table.test}{trial}", fontsize=9)
    axes.set_xlabel(table.metric, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)


def _draw_row(axes: Any, place: int, row: Row) -> None:
    assert row.value is not None
    low, high = (row.value if each is None else each for each in (row.low, row.high))
    colour = _COLOURS[row.kind]
    axes.plot([low, high], [place, place], color=colour, linewidth=2)
    axes.plot([row.value], [place], marker="o", markersize=5, color=colour)


def _draw_published(axes: Any, values: Any, is_share: bool) -> None:
    low, high = (each / 100 if is_share else each for each in (min(values.values()), max(values.values())))
    axes.axvspan(low, high, color=_PUBLISHED, alpha=0.2)


def _label(row: Row) -> str:
    text = f"{row.who}, {row.head}"
    return text if len(text) <= _LONGEST_NAME else "…" + text[1 - _LONGEST_NAME :]
