"""The dossier of one protein, and the overview of several: plain frozen values that JSON can hold.

L residues. Positions count from 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 1
"""Of what dossiers and overviews look like; a newer one makes those kept before unreadable."""


@dataclass(frozen=True)
class Share:
    """One thing that could be, and how probable it is."""

    name: str
    probability: float


@dataclass(frozen=True)
class ResidueTrack:
    """A class of each residue: `letters` (L), one a residue; `confidence` is the probability of that class (L)."""

    task: str
    title: str
    letters: str
    classes: tuple[str, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True)
class Property:
    """What is predicted of the whole protein: the most probable class, the labels, or a number, as a text."""

    task: str
    title: str
    value: str
    number: float | None
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class ContactMap:
    """Pairs of residues with the probability of their being closer than 8 angstrom, most probable first.

    Pairs closer than `min_separation` along the chain, and those under `min_probability`, are left out.
    """

    task: str
    title: str
    min_separation: int
    min_probability: float
    pairs: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class VariantMap:
    """Scores of all single substitutions, in nats: `scores` and `calibrated` have a row a residue, a column a letter.

    Above 0 the model prefers the variant; 0 where the letter is the wild type.
    """

    method: str
    columns: str
    scores: tuple[tuple[float, ...], ...]
    calibrated: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Label:
    """What is known of a neighbour, and how often such a neighbour's label is the query's own (None: not measured)."""

    name: str
    value: str
    reliability: float | None


@dataclass(frozen=True)
class NearProtein:
    """A protein near in the embedding; `distance` is Euclidean, `similarity` the cosine."""

    rank: int
    id: str
    description: str
    distance: float
    similarity: float | None
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class SecondHalf:
    """The protein's second half as the model writes it after reading the first: `written` beside `truth`."""

    kept: int
    written: str
    truth: str
    num_identical: int
    perplexity: float


@dataclass(frozen=True)
class Dossier:
    """All that is said of one protein; a part that nothing here can tell is None or empty, and `notes` say why."""

    version: int
    number: int
    id: str
    description: str
    length: int
    sequence: str
    tracks: tuple[ResidueTrack, ...]
    properties: tuple[Property, ...]
    contacts: ContactMap | None
    variants: VariantMap | None
    neighbours: tuple[NearProtein, ...]
    second_half: SecondHalf | None
    embedding: tuple[float, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A protein in the overview: its place on the map (the first two principal components) and its fields."""

    number: int
    id: str
    description: str
    length: int
    x: float
    y: float
    fields: Mapping[str, str | float]


@dataclass(frozen=True)
class Overview:
    """All proteins of a request: `fields` are what lines may tell, the first the most telling.

    `properties` are the titles of what is predicted of whole proteins, `explained` the shares of the embeddings'
    variance that the two axes of the map hold.
    """

    version: int
    model: str
    model_sha256: str
    openankh: str
    variants: str
    against: str
    properties: tuple[str, ...]
    num_residues: int
    fields: tuple[str, ...]
    explained: tuple[float, float]
    lines: tuple[Line, ...]
