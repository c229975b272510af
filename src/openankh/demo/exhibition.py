"""What the demo finds: each protein's nearest neighbour, and how often it is of the same family, beside controls."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.demo.neighbours import Neighbours, composition, nearest
from openankh.demo.proteins import Protein, families_of
from openankh.files import write_file_atomically


@dataclass(frozen=True)
class Finding:
    """One protein and its nearest neighbour; `similarity` is the cosine of their vectors about the mean of all."""

    id: str
    protein: str
    organism: str
    kingdom: str
    family: str
    length: int
    nearest_id: str
    nearest_protein: str
    nearest_organism: str
    nearest_family: str
    similarity: float

    @property
    def is_alike(self) -> bool:
        """Whether the neighbour is of the same family."""
        return self.family == self.nearest_family


@dataclass(frozen=True)
class Shares:
    """The share of proteins whose nearest neighbour is of their family, by what they were compared.

    `untrained` is None where no random model was drawn; `chance` is that of a neighbour picked blindly.
    """

    model: float
    composition: float
    untrained: float | None
    chance: float


def findings(proteins: Sequence[Protein], neighbours: Neighbours) -> list[Finding]:
    """One finding a protein, in order."""
    pairs = zip(proteins, neighbours.places, neighbours.similarities, strict=True)
    return [_finding(protein, proteins[place], float(similarity)) for protein, place, similarity in pairs]


def _finding(protein: Protein, other: Protein, similarity: float) -> Finding:
    return Finding(
        id=protein.accession,
        protein=protein.name,
        organism=protein.organism,
        kingdom=protein.kingdom,
        family=protein.family,
        length=len(protein.sequence),
        nearest_id=other.accession,
        nearest_protein=other.name,
        nearest_organism=other.organism,
        nearest_family=other.family,
        similarity=round(similarity, 4),
    )


def well_spread(found: Sequence[Finding], most: int = 15) -> list[Finding]:
    """At most so many of them, evenly spaced from the first on: every family large enough is met."""
    return list(found[:: math.ceil(len(found) / most)])


def shares(proteins: Sequence[Protein], neighbours: Neighbours, untrained_ND: NDArray[np.floating] | None) -> Shares:
    """How often neighbours are of one family: by the model, by composition, by an untrained model, by chance."""
    families = families_of(proteins)
    by_composition = nearest(composition([protein.sequence for protein in proteins]))
    return Shares(
        model=neighbours.share_alike(families),
        composition=by_composition.share_alike(families),
        untrained=None if untrained_ND is None else nearest(untrained_ND).share_alike(families),
        chance=_blind_share(families),
    )


def _blind_share(families: Sequence[str]) -> float:
    sizes = np.array([families.count(family) for family in families])
    return float(np.mean((sizes - 1) / (len(families) - 1)))


def write_table(found: Sequence[Finding], path: Path) -> None:
    """All findings as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([field.name for field in fields(Finding)])
    rows.writerows(astuple(finding) for finding in found)
    write_file_atomically(path, text.getvalue())
