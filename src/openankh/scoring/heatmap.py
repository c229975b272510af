"""The picture of a scan: a row an amino acid, a column a residue, the wild type marked."""

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from openankh.errors import UserError
from openankh.files import atomic_file
from openankh.scoring.scan import COLUMNS, Scan

_ORDER = "GPAVLIMFYWSTCNQHKRDE"
"""Amino acids with like ones beside each other."""

_A_LINE = 100
"""Residues drawn in one line of the picture."""

_MOST_LINES = 60


def draw(scan: Scan, path: Path, title: str) -> None:
    """Write it as a PNG, lines of 100 residues; raw scores, the wild type's residues as dots.

    Raises UserError where matplotlib is missing, and for a protein too long to be drawn.
    """
    require_drawing(len(scan.wild_type))
    from matplotlib.figure import Figure

    length = len(scan.wild_type)
    num_lines = ceil(length / _A_LINE)
    figure = Figure(figsize=(3 + min(length, _A_LINE) * 0.14, 1.2 + 3.1 * num_lines), dpi=110, layout="constrained")
    lines = figure.subplots(num_lines, 1, squeeze=False)[:, 0]
    shown = scan.raw_L20[:, [COLUMNS.index(letter) for letter in _ORDER]].T
    limit = max(float(np.percentile(np.abs(shown), 99)), 1e-6)
    for number, axes in enumerate(lines):
        image = _draw_line(axes, scan, shown, number * _A_LINE, limit)
    figure.colorbar(image, ax=lines.tolist(), label="score, nats (above 0: preferred to the wild type)", shrink=0.8)  # pyright: ignore[reportPossiblyUnboundVariable]
    figure.suptitle(title)
    lines[-1].set_xlabel("position (dots: the wild type)")
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def require_drawing(length: int) -> None:
    """UserError where no picture of so many residues can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError('the plot needs matplotlib; run: pip install "openankh[plots]", or leave --plot out') from None
    if length > _A_LINE * _MOST_LINES:
        raise UserError(f"--plot: draws proteins of up to {_A_LINE * _MOST_LINES} residues, not of {length}")


def _draw_line(axes: Any, scan: Scan, shown: Any, first: int, limit: float) -> Any:
    residues = scan.wild_type[first : first + _A_LINE]
    part = shown[:, first : first + len(residues)]
    extent = (first + 0.5, first + len(residues) + 0.5, len(_ORDER) - 0.5, -0.5)
    image = axes.imshow(part, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, aspect="auto")
    marks = [(first + 1 + place, _ORDER.index(letter)) for place, letter in enumerate(residues) if letter in _ORDER]
    axes.scatter(*zip(*marks, strict=True) if marks else ((), ()), s=9, color="black")
    axes.set_yticks(range(len(_ORDER)), list(_ORDER), fontsize=6, family="monospace")
    every = range(first + 1, first + len(residues) + 1)
    axes.set_xticks(
        [position for position in every if position % 10 == 0 or position == 1],
    )
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(every), list(residues), fontsize=5, family="monospace")
    top.tick_params(length=0)
    return image
