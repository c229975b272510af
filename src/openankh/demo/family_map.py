"""The map: vectors of many dimensions laid out in two, drawn with a colour and a shape for each family.

N proteins, D numbers a protein.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.demo.neighbours import centred_units
from openankh.files import atomic_file

METHOD = "t-SNE"
_SEED = 0
_PERPLEXITY = 12

# Okabe and Ito's colours, told apart with every kind of colour blindness, each with three shapes.
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_SHAPES = ("o", "s", "^")


def laid_out(vectors_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """A place in the plane for each protein (N, 2), near ones together; the same at every run."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    units_ND = centred_units(vectors_ND)
    perplexity = min(_PERPLEXITY, (len(units_ND) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=_SEED)
    with threadpool_limits(1):  # threads that wait for each other make a second of work a minute on a busy machine
        return np.asarray(layout.fit_transform(units_ND), np.float64)


def draw(
    places_N2: NDArray[np.floating], families: Sequence[str], title: str, remarks: Sequence[str], path: Path
) -> None:
    """Write the map as a PNG, two lines of remarks under its title, the families in order of first appearance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2), dpi=150, facecolor="white")
    axes = figure.add_axes((0.02, 0.03, 0.66, 0.845))
    labels = np.asarray(families)
    for family, (shape, colour) in marks(families).items():
        chosen = places_N2[labels == family]
        style = {"marker": shape, "color": colour, "edgecolors": "#333333", "linewidths": 0.5, "alpha": 0.9}
        axes.scatter(*chosen.T, s=56, label=family, zorder=2, **style)
        _draw_star(axes, chosen, colour)
    _finish(figure, axes, title, remarks)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _draw_star(axes: Any, places_N2: NDArray[np.floating], colour: str) -> None:
    """Thin lines from a family's innermost member to all others, so that the eye finds the strays."""
    distances_NN = np.linalg.norm(places_N2[:, None] - places_N2, axis=-1)
    heart = places_N2[np.median(distances_NN, axis=1).argmin()]
    for place in places_N2:
        axes.plot(*zip(heart, place, strict=True), color=colour, linewidth=0.9, alpha=0.3, zorder=1)


def marks(families: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A shape and a colour for each family, in order of first appearance."""
    kinds, distinct = dict.fromkeys(families), list(product(_SHAPES, _COLOURS))
    assert len(kinds) <= len(distinct), "more families than marks"
    return dict(zip(kinds, distinct, strict=False))


def _finish(figure: Any, axes: Any, title: str, remarks: Sequence[str]) -> None:
    """Title, legend beside the map, and no axes: only who is near whom means anything."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#cccccc")
    figure.text(0.02, 0.96, title, fontsize=14, fontweight="bold", va="center")
    figure.text(0.02, 0.908, "\n".join(remarks), fontsize=9.5, color="#555555", va="center", linespacing=1.5)
    axes.legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=10, handletextpad=0.4, labelspacing=0.65
    )
