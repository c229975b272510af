"""Dossiers as SVG: variants as a heatmap, contacts as a map, several proteins on a plane; no style, no script."""

import base64
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from openankh.dossier.colours import GROUPS, OTHERS, diverging, sequential
from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.raster import png

LIKE_BESIDE_LIKE = "GPAVLIMFYWSTCNQHKRDE"
"""Amino acids with like ones beside each other: the rows of the heatmap."""

_CELL, _A_LINE, _LEFT = 10, 100, 28
_FONT = 'font-family="ui-monospace, Menlo, Consolas, monospace"'
_TEXT = "#333333"


def score_limit(scores: NDArray[np.floating]) -> float:
    """The score that has the strongest colour: nearly all are within it."""
    return max(float(np.percentile(np.abs(scores), 99)), 1e-6)


def variants_svg(dossier: Dossier) -> str:
    """All single substitutions in lines of 100 residues, the wild type's letters as dots."""
    assert dossier.variants is not None
    scores_L20 = np.array(dossier.variants.scores)
    shown_20L = scores_L20[:, [dossier.variants.columns.index(letter) for letter in LIKE_BESIDE_LIKE]].T
    rgb = diverging(shown_20L, score_limit(scores_L20))
    num_lines = ceil(dossier.length / _A_LINE)
    width, line_height = _LEFT + min(dossier.length, _A_LINE) * _CELL + 10, 20 * _CELL + 46
    body = [
        _line(dossier.sequence, rgb, start, number * line_height + 40)
        for number, start in enumerate(range(0, dossier.length, _A_LINE))
    ]
    title = f"{dossier.id}: single substitutions, {dossier.variants.method}"
    return _svg(width, num_lines * line_height + 44, title, [_words(_LEFT, 20, title, 13), *body])


def _line(sequence: str, rgb: NDArray[np.uint8], start: int, top: int) -> str:
    part = rgb[:, start : start + _A_LINE]
    residues = sequence[start : start + _A_LINE]
    made = [_image(_LEFT, top + 14, len(residues) * _CELL, 20 * _CELL, part)]
    made += [_words(_LEFT - 14, top + 23 + row * _CELL, letter, 9) for row, letter in enumerate(LIKE_BESIDE_LIKE)]
    for place, letter in enumerate(residues):
        middle = _LEFT + place * _CELL + _CELL / 2
        made.append(_words(middle, top + 9, letter, 9, "middle"))
        if letter in LIKE_BESIDE_LIKE:
            y = top + 14 + LIKE_BESIDE_LIKE.index(letter) * _CELL + _CELL / 2
            made.append(f'<circle cx="{middle:g}" cy="{y:g}" r="1.8" fill="#111111"/>')
        if (start + place + 1) % 10 == 0 or place == 0:
            made.append(_words(middle, top + 14 + 20 * _CELL + 12, str(start + place + 1), 9, "middle"))
    return "".join(made)


def contact_limit(dossier: Dossier) -> float:
    """The probability that is drawn darkest: what the L/5 most probable pairs reach, little with a small model."""
    pairs = dossier.contacts.pairs if dossier.contacts else ()
    return pairs[min(dossier.length // 5, len(pairs) - 1)][2] if pairs else 1.0


def contacts_svg(dossier: Dossier) -> str:
    """Probable contacts, on both sides of the diagonal."""
    assert dossier.contacts is not None
    length, size, left = dossier.length, 560, 44
    shares = np.zeros((length, length))
    for i, j, share in dossier.contacts.pairs:
        shares[i - 1, j - 1] = shares[j - 1, i - 1] = share
    made = [_image(left, 34, size, size, sequential(shares / contact_limit(dossier)))]
    made.append(f'<rect x="{left}" y="34" width="{size}" height="{size}" fill="none" stroke="#888888"/>')
    step = next(s for s in (10, 25, 50, 100, 250, 500, 1000, 5000, 10**9) if length / s <= 8)
    for position in range(step, length + 1, step):
        at = (position - 0.5) / length * size
        made.append(_words(left - 6, 37 + at, str(position), 11, "end"))
        made.append(_words(left + at, 34 + size + 16, str(position), 11, "middle"))
    title = f"{dossier.id}: predicted contacts"
    return _svg(left + size + 20, size + 64, title, [_words(left, 20, title, 13), *made])


def map_svg(found: Overview, field: str) -> str:
    """The embeddings' map, coloured by a field."""
    size, top = 560, 44
    groups = colouring(found, field)
    points = [
        f'<circle cx="{20 + x * (size - 40):.1f}" cy="{top + 20 + (1 - y) * (size - 40):.1f}" r="5" '
        f'fill="{groups.colours[at]}" fill-opacity="0.85"><title>{escape(shown(line.id))}</title></circle>'
        for line, (x, y), at in zip(found.lines, places(found), groups.group_of, strict=True)
    ]
    frame = f'<rect x="10" y="{top}" width="{size - 10}" height="{size}" fill="none" stroke="#bbbbbb"/>'
    legend = []
    for number, (name, colour) in enumerate(zip(groups.names, groups.colours, strict=True)):
        y = top + 20 + 20 * number
        legend.append(f'<circle cx="{size + 18}" cy="{y - 4}" r="5" fill="{colour}"/>{_words(size + 30, y, name, 12)}')
    title = f"Embeddings of {len(found.lines)} proteins, coloured by {field}"
    return _svg(size + 280, size + top + 12, title, [_words(10, 24, title, 13), frame, *points, *legend])


class Colouring:
    """Groups of proteins: their names and colours, and the group of each protein."""

    def __init__(self, names: Sequence[str], colours: Sequence[str], group_of: Sequence[int]) -> None:
        self.names, self.colours, self.group_of = names, colours, group_of


def colouring(found: Overview, field: str) -> Colouring:
    """The largest groups have colours of their own, all others share grey; numbers are put into fifths."""
    values = [line.fields.get(field, "") for line in found.lines]
    if all(isinstance(value, float | int) for value in values):
        return _fifths([float(value) for value in values])
    texts = [shown(str(value)).replace("_", " ") or "none" for value in values]
    names = sorted(set(texts), key=lambda name: (-texts.count(name), name))
    kept = names if len(names) <= len(GROUPS) else names[: len(GROUPS) - 1]
    rest = len(names) - len(kept)
    number = {name: place for place, name in enumerate(kept)}
    colours = [*GROUPS[: len(kept)], *([OTHERS] if rest else [])]
    return Colouring([*kept, *([f"{rest} others"] if rest else [])], colours, [number.get(t, len(kept)) for t in texts])


def _fifths(values: Sequence[float]) -> Colouring:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 6)))
    if len(edges) == 1:
        return Colouring([f"{edges[0]:g}"], [GROUPS[0]], [0] * len(values))
    group_of = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2).tolist()
    shades = sequential(np.linspace(0.25, 1, len(edges) - 1)).tolist()
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges.tolist())]
    return Colouring(names, ["#{:02x}{:02x}{:02x}".format(*shade) for shade in shades], group_of)


def places(found: Overview) -> list[tuple[float, float]]:
    """Where each protein lies within a square of side 1; both axes have one scale."""
    xy_N2 = np.array([(line.x, line.y) for line in found.lines])
    middle_2 = (xy_N2.max(0) + xy_N2.min(0)) / 2
    span = max(float((xy_N2.max(0) - xy_N2.min(0)).max()), 1e-12)
    return [(float(x), float(y)) for x, y in (xy_N2 - middle_2) / span + 0.5]


def shown(text: str) -> str:
    """A text of a FASTA file as a page can hold it: no surrogates, no control characters."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _image(x: float, y: float, width: float, height: float, rgb: NDArray[np.uint8]) -> str:
    data = base64.b64encode(png(rgb)).decode()
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return (
        f'<image {place} preserveAspectRatio="none" image-rendering="pixelated" href="data:image/png;base64,{data}"/>'
    )


def _words(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    where = f'x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {where} {_FONT} fill="{_TEXT}">{escape(shown(text))}</text>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
    label = f"<title>{escape(shown(title))}</title>"
    return f'{head} role="img">{label}<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
