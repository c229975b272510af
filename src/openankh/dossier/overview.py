"""The overview of several proteins: their map, and fields to colour it by."""

from collections.abc import Sequence

import numpy as np

from openankh import __version__
from openankh.dossier.dossier import VERSION, Dossier, Line, Overview
from openankh.dossier.embedding_map import principal_map
from openankh.dossier.sources import Sources
from openankh.scoring.method import Method
from openankh.search.labels import header_labels

NEAREST = "nearest"
"""In front of the names of the nearest neighbour's labels."""


def overview(dossiers: Sequence[Dossier], sources: Sources, method: Method | None) -> Overview:
    """What all of them have in common, and a line each."""
    vectors_ND = np.array([dossier.embedding for dossier in dossiers])
    found = principal_map(vectors_ND)
    lines = tuple(
        Line(each.number, each.id, each.description, each.length, float(x), float(y), fields_of(each))
        for each, (x, y) in zip(dossiers, found.places_N2, strict=True)
    )
    fields = dict.fromkeys(name for line in lines for name in line.fields)
    loaded = sources.loaded
    return Overview(
        version=VERSION,
        model=loaded.pinned_name,
        model_sha256=loaded.sha256,
        openankh=__version__,
        variants=method or "none",
        against=sources.annotated.name if sources.annotated else "",
        properties=tuple(dict.fromkeys(said.title for each in dossiers for said in each.properties)),
        num_residues=sum(each.length for each in dossiers),
        fields=tuple(fields),
        explained=found.explained,
        lines=lines,
    )


def fields_of(dossier: Dossier) -> dict[str, str | float]:
    """What a protein can be coloured by: predictions, its nearest neighbour's labels, its header's own, its length."""
    fields: dict[str, str | float] = {}
    for label in dossier.neighbours[0].labels if dossier.neighbours else ():
        fields[f"{NEAREST} {label.name}"] = label.value
    for each in dossier.properties:
        fields[each.title] = each.value if each.number is None else each.number
    fields |= dict(header_labels(dossier.description))
    fields["length"] = float(dossier.length)
    return fields
