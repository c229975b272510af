"""How dossiers become HTML: templates, and the small things that they ask for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from openankh.dossier.colours import GROUPS
from openankh.dossier.dossier import Dossier, Overview, ResidueTrack
from openankh.dossier.pictures import colouring, contact_limit, places, shown

HERE = Path(__file__).parent
STATIC = "/static"
_A_ROW = 60

METHODS: Mapping[str, str] = {
    "masked-marginal": "each residue hidden in turn",
    "wild-type-marginal": "the whole protein read once",
    "none": "not computed",
}
"""What the methods of scoring do, in words."""

_STRUCTURE = {
    "H": "helix",
    "E": "strand",
    "C": "coil",
    "G": "3-10 helix",
    "I": "π helix",
    "B": "bridge",
    "T": "turn",
    "S": "bend",
    "L": "loop",
    "-": "loop",
}
_YES_OR_NO = {"N": "no", "P": "yes"}
_CAUTIONS = {"paratope": "learned from antibodies; of other proteins it says nothing"}
_STRUCTURE_SHADES = {"H": "s-helix", "G": "s-helix", "I": "s-helix", "E": "s-strand", "B": "s-strand"}


@cache
def environment() -> Environment:
    """The templates; every text is escaped."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    found.filters |= {"shown": shown, "value": field_value, "about": about}
    found.globals |= {
        "static": lambda name: f"{STATIC}/{name}",
        "class_name": class_name,
        "track_shade": track_shade,
        "caution": caution,
        "contact_limit": contact_limit,
        "method_words": METHODS,
    }
    return found


def page(template: str, values: Mapping[str, Any]) -> bytes:
    """A page as bytes."""
    return environment().get_template(template).render(**values).encode("utf-8", "replace")


def about(description: str) -> str:
    """A FASTA description in words: without its `key=value` pairs."""
    words = shown(description).split(" ")
    place = next((number for number, word in enumerate(words) if "=" in word), len(words))
    return " ".join(words[:place])


def field_value(value: object) -> str:
    """A label or number as people read it."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return shown(str(value)).replace("_", " ")


def class_name(track: ResidueTrack, letter: str) -> str:
    """What a letter of a track means."""
    for words in (_YES_OR_NO, _STRUCTURE):
        if all(each in words for each in track.classes):
            return words[letter]
    return shown(letter)


def caution(track: ResidueTrack) -> str:
    """What a reader must know before believing a track, "" for nothing."""
    return next((words for task, words in _CAUTIONS.items() if track.task.startswith(task)), "")


def track_shade(track: ResidueTrack, place: int) -> str:
    """The CSS class of a track's class: helices and strands have colours of their own, what is neither is grey."""
    if all(each in _YES_OR_NO for each in track.classes):
        return "s-helix" if track.classes[place] == "P" else "s-rest"
    if all(each in _STRUCTURE for each in track.classes):
        return _STRUCTURE_SHADES.get(track.classes[place], "s-rest")
    return f"g{place % len(GROUPS)}"


@dataclass(frozen=True)
class Point:
    """A protein on the map, in the picture's units; `shade` is a CSS class."""

    number: int
    id: str
    x: float
    y: float
    shade: str
    group: str


@dataclass(frozen=True)
class MapView:
    """The map of an overview: points, its height, and the legend's (name, CSS class, proteins)."""

    points: Sequence[Point]
    height: int
    legend: Sequence[tuple[str, str, int]]


def map_view(found: Overview, field: str) -> MapView:
    """Points in a picture 560 wide, as high as they need."""
    groups, at = colouring(found, field), places(found)
    is_number = all(isinstance(line.fields.get(field), float | int) for line in found.lines)
    ys = [y for _, y in at]
    height = max(round(520 * (max(ys) - min(ys))) + 40, 240)
    top = height / 2 + 520 * (max(ys) + min(ys)) / 2
    shades = [_shade(number, name, is_number) for number, name in enumerate(groups.names)]
    points = [
        Point(
            line.number,
            shown(line.id),
            round(20 + 520 * x, 1),
            round(top - 520 * y, 1),
            shades[group],
            groups.names[group],
        )
        for line, (x, y), group in zip(found.lines, at, groups.group_of, strict=True)
    ]
    counts = [groups.group_of.count(number) for number in range(len(shades))]  # pyright: ignore[reportAttributeAccessIssue]
    return MapView(points, height, list(zip(groups.names, shades, counts, strict=True)))


def _shade(number: int, name: str, is_number: bool) -> str:
    if is_number:
        return f"n{number}"
    return f"g{number}" if number < len(GROUPS) and not name.endswith(" others") else "g-rest"


@dataclass(frozen=True)
class TextRow:
    """Sixty residues and what the tracks say of them."""

    start: int
    letters: str
    tracks: Sequence[tuple[str, str]]


def text_rows(found: Dossier) -> Iterator[TextRow]:
    """The sequence and its tracks, sixty residues a row."""
    for start in range(0, found.length, _A_ROW):
        end = start + _A_ROW
        tracks = [(shown(track.title), track.letters[start:end]) for track in found.tracks]
        yield TextRow(start + 1, found.sequence[start:end], tracks)


@dataclass(frozen=True)
class HalfRow:
    """Sixty residues of a second half: the truth, and what was written in runs (same as the truth, letters)."""

    start: int
    truth: str
    runs: Sequence[tuple[bool, str]]


def half_rows(found: Dossier) -> Iterator[HalfRow]:
    """The second half, what was written beside what is there, sixty residues a row."""
    half = found.second_half
    if half is None:
        return
    pairs = list(zip(half.written, half.truth, strict=True))
    for start in range(0, len(pairs), _A_ROW):
        part = pairs[start : start + _A_ROW]
        runs = [
            (same, "".join(one for one, _ in several))
            for same, several in groupby(part, lambda pair: pair[0] == pair[1])
        ]
        yield HalfRow(half.kept + start + 1, "".join(truth for _, truth in part), runs)
