"""The picture of what is predicted of residues: the sequence, a track of shapes, and the probabilities under it.

L residues, C classes.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

A_LINE = 80
"""Residues drawn in one line of the picture."""
MOST_RESIDUES = 80 * 60
_SHORTEST_LINE = 40

_STRUCTURE = {
    "H": "#c8372d",
    "G": "#e8825a",
    "I": "#8c1d4f",
    "E": "#2f6db5",
    "B": "#7fb2e5",
    "T": "#4d9a62",
    "S": "#a7cf8d",
    "C": "#b9b9b9",
}
_OTHERS = ("#b9b9b9", "#c8372d", "#2f6db5", "#4d9a62", "#d9a520", "#7d4fa0", "#5bb3b0", "#8a5a3c", "#e07ba8", "#555555")
_HELICES, _STRANDS = "HGI", "EB"


def draw_tracks(
    figure: Any, title: str, sequence: str, values: Sequence[str], shares_LC: NDArray[np.float32], names: Sequence[str]
) -> None:
    """Draw on an empty figure of matplotlib; secondary structure as helices and arrows, other classes as boxes."""
    num_lines = ceil(len(sequence) / A_LINE)
    figure.set_size_inches(2 + min(max(len(sequence), _SHORTEST_LINE), A_LINE) * 0.135, 1.1 + 1.25 * num_lines)
    colours = colours_of(names)
    lines = figure.subplots(num_lines, 1, squeeze=False)[:, 0]
    for number, axes in enumerate(lines):
        first = number * A_LINE
        part = slice(first, first + A_LINE)
        axes.set_xlim(first + 0.5, first + (A_LINE if num_lines > 1 else max(len(sequence), _SHORTEST_LINE)) + 0.5)
        _draw_line(axes, first, sequence[part], values[part], shares_LC[part], names, colours)
    _draw_legend(figure, names, colours)
    figure.suptitle(title, fontsize=9)


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each class; those of secondary structure always the same."""
    if is_structure(names):
        return {name: _STRUCTURE[name] for name in names}
    return {name: _OTHERS[place % len(_OTHERS)] for place, name in enumerate(names)}


def is_structure(names: Sequence[str]) -> bool:
    """Whether classes are those of secondary structure, in three states or eight."""
    return {"H", "E"} <= set(names) <= set(_STRUCTURE)


def _draw_line(
    axes: Any,
    first: int,
    residues: str,
    values: Sequence[str],
    shares_LC: NDArray[np.float32],
    names: Sequence[str],
    colours: dict[str, str],
) -> None:
    places = np.arange(first + 1, first + 1 + len(residues))
    axes.set_ylim(0, 1.75)
    bottoms = np.zeros(len(residues))
    for column, name in enumerate(names):
        axes.bar(places, shares_LC[:, column], 1.0, bottoms, color=colours[name], linewidth=0, alpha=0.75)
        bottoms += shares_LC[:, column]
    for start, end, name in runs(values):
        _draw_run(axes, first + start + 0.5, first + end + 0.5, name, colours[name], is_structure(names))
    for place, letter in zip(places, residues, strict=True):
        axes.text(place, 1.6, letter, ha="center", va="center", fontsize=6, family="monospace")
    axes.set_xticks([place for place in places if place % 10 == 0 or place == first + 1])
    axes.set_yticks([0, 1])
    axes.tick_params(labelsize=6, length=2)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def runs(values: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, class) of neighbouring residues of one class."""
    start = 0
    for name, group in groupby(values):
        end = start + len(list(group))
        yield start, end, name
        start = end


def _draw_run(axes: Any, start: float, end: float, name: str, colour: str, is_structured: bool) -> None:
    """Residues of one class: a wave for a helix, an arrow for a strand, a line for the rest."""
    middle, height = 1.28, 0.16
    if not is_structured:
        axes.fill_between([start, end], middle - height / 2, middle + height / 2, color=colour, linewidth=0)
    elif name in _HELICES:
        along = np.linspace(start, end, max(int((end - start) * 12), 12))
        wave = middle + 0.8 * height * np.sin((along - start) / 3.6 * 2 * np.pi)
        axes.plot(along, wave, color=colour, linewidth=1.8, solid_capstyle="round")
    elif name in _STRANDS:
        neck = max(end - 1.2, start)
        x = [start, neck, neck, end, neck, neck, start]
        y = np.array([-0.4, -0.4, -0.9, 0, 0.9, 0.4, 0.4]) * height + middle
        axes.fill(x, y, color=colour, linewidth=0)
    else:
        axes.plot([start, end], [middle, middle], color=colour, linewidth=1.2, solid_capstyle="butt")


def _draw_legend(figure: Any, names: Sequence[str], colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), fontsize=7, frameon=False)
