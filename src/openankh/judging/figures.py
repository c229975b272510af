"""The figures of a judgement, as SVG for a page of light or dark ground: lines and letters take the page's colour."""

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh.judging.composition import AMINO_ACIDS
from openankh.judging.judgement import Judgement, SetFacts

_INK = "#010203"
"""Stands for the page's own colour until a figure is written."""

_DESIGNS = ("#2F8FD0", "#E08A00", "#9A6BD0", "#D8553A")
_CONTROLS = ("#C65B9B", "#8C7A3E", "#5F9E57")
_HELD_OUT, _SHUFFLED = "#00A08A", "#8A8F98"
_WIDTH = 4.8
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}

Draw = Callable[[Any, Judgement, dict[str, str]], None]


def figures(judgement: Judgement) -> dict[str, str]:
    """SVG texts by the names of the figures."""
    import matplotlib

    colours = colours_of(judgement.sets)
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": "openankh"}):
        return {name: _svg(name, draw, judgement, colours) for name, draw in _FIGURES.items()}


def save_png(judgement: Judgement, name: str, path: str) -> None:
    """Write one of the figures alone, on white."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(layout="constrained", dpi=130, facecolor="white")
        _FIGURES[name](figure, judgement, colours_of(judgement.sets))
        figure.savefig(path, format="png")


def colours_of(sets: Sequence[SetFacts]) -> dict[str, str]:
    """A colour for each set that is told from the others on light and on dark ground."""
    designs = [each.name for each in sets if each.kind == "designs"]
    controls = [each.name for each in sets if each.kind == "control"]
    *given, held_out, shuffled = controls
    found = {name: _DESIGNS[number % len(_DESIGNS)] for number, name in enumerate(designs)}
    found |= {name: _CONTROLS[number % len(_CONTROLS)] for number, name in enumerate(given)}
    return {**found, held_out: _HELD_OUT, shuffled: _SHUFFLED}


def _svg(name: str, draw: Draw, judgement: Judgement, colours: dict[str, str]) -> str:
    from matplotlib.figure import Figure

    figure, file = Figure(layout="constrained"), BytesIO()
    draw(figure, judgement, colours)
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)  # the names of several figures share one page
    text = re.sub(r' d="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), text)
    return text.replace(_INK, "currentColor")


def _scores(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    values = {each.name: each.values("bits") for each in judgement.sets}
    axes = _histograms(figure, values, colours)
    for each in axes:
        each.axvline(judgement.family.bits_accepted, color=_INK, linewidth=0.9, linestyle="--")
    axes[-1].set_xlabel(f"profile score, bits (dashed: accepted at E = {judgement.options.accept:g})")


def _identities(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    values = {each.name: 100 * each.values("nearest_identity") for each in judgement.sets}
    _histograms(figure, values, colours, (0, 100))[-1].set_xlabel("identity to the nearest natural protein, %")


def _diversity(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    values = {each.name: 100 * each.pair_identities for each in judgement.sets}
    _histograms(figure, values, colours, (0, 100))[-1].set_xlabel("identity of pairs within a set, %")


def _lengths(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    values = {each.name: each.values("length") for each in judgement.sets}
    _histograms(figure, values, colours)[-1].set_xlabel("residues")


def _histograms(
    figure: Any,
    values: dict[str, NDArray[np.float64]],
    colours: dict[str, str],
    limits: tuple[float, float] | None = None,
) -> list[Any]:
    """A row a set, one axis for all; each as high as its own highest bar."""
    figure.set_size_inches(_WIDTH, 0.6 + 0.72 * len(values))
    finite = {name: each[np.isfinite(each)] for name, each in values.items()}
    together = np.concatenate(list(finite.values()))
    low, high = limits or ((together.min(), together.max()) if len(together) else (0.0, 1.0))
    edges = np.linspace(low, high if high > low else low + 1, 51)
    rows = list(figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0])
    for axes, (name, each) in zip(rows, finite.items(), strict=True):
        counts, _ = np.histogram(each, edges)
        axes.stairs(counts / max(counts.max(), 1), edges, fill=True, color=colours[name])
        axes.set(yticks=[], ylim=(0, 1.05), xlim=(edges[0], edges[-1]))
        axes.spines["left"].set_visible(False)
        axes.set_title(_caption(name, each), loc="left", fontsize=9.5, pad=3)
    return rows


def _caption(name: str, values: NDArray[np.float64]) -> str:
    return f"{name}: median {np.median(values):.4g}" if len(values) else f"{name}: none"


def _entropies(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    """The natural columns as ground, a set's as a line, a row a set."""
    figure.set_size_inches(_WIDTH, 0.7 + 1.05 * len(judgement.sets))
    natural_C = judgement.natural_columns.entropies_C
    positions = np.arange(1, len(natural_C) + 1)
    rows = figure.subplots(len(judgement.sets), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, each in zip(rows, judgement.sets, strict=True):
        axes.fill_between(positions, np.nan_to_num(natural_C), color=_SHUFFLED, alpha=0.35, linewidth=0)
        axes.plot(positions, each.columns.entropies_C, color=colours[each.name], linewidth=0.9)
        squared = each.entropy.squared_bits
        told = "no columns" if np.isnan(squared) else f"mean squared difference {squared:.2f} bits²"
        axes.set_title(f"{each.name}: {told}", loc="left", fontsize=9.5, pad=3)
        axes.set(xlim=(0.5, len(natural_C) + 0.5), ylim=(0, 4.4), yticks=[0, 2, 4])
    rows[len(rows) // 2].set_ylabel("entropy, bits (grey: the natural family)")
    rows[-1].set_xlabel("column of the family's profile")


def _composition(figure: Any, judgement: Judgement, colours: dict[str, str]) -> None:
    figure.set_size_inches(_WIDTH, 2.9 + 0.2 * (len(judgement.sets) // 2))
    axes = figure.subplots()
    order = np.argsort(-judgement.natural_shares_20)
    axes.axhline(0, color=_INK, linewidth=0.8)
    sets = [each for each in judgement.sets if each.name != judgement.sets[-1].name]  # shuffling leaves it as it is
    for number, each in enumerate(sets):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios_20 = np.log2(each.shares_20 / judgement.natural_shares_20)[order]
        places = np.arange(20) + 0.5 * ((number + 0.5) / len(sets) - 0.5)
        axes.plot(places, np.clip(ratios_20, -3, 3), "o", markersize=3.5, color=colours[each.name], label=each.name)
    reach = max(0.5, *np.abs(axes.get_ylim()))  # no difference looks large for want of a larger one
    axes.set_ylim(-reach, reach)
    axes.set_xticks(range(20), [AMINO_ACIDS[place] for place in order])
    axes.set_ylabel("log2 of the share over the natural one")
    axes.set_xlabel("amino acid, the most common of the family first")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9.5)


_FIGURES: dict[str, Draw] = {
    "scores": _scores,
    "identities": _identities,
    "entropies": _entropies,
    "diversity": _diversity,
    "lengths": _lengths,
    "composition": _composition,
}
