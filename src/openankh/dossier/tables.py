"""Dossiers as tables and FASTA: what people carry on with in a spreadsheet or another program."""

import csv
import io
from collections.abc import Iterable, Sequence

from openankh.dossier.dossier import Dossier, Overview

Cell = str | int | float | None


def overview_csv(found: Overview) -> str:
    """A row a protein: its place on the map and its fields."""
    head = ["number", "id", "description", "length", "x", "y", *(f for f in found.fields if f != "length")]
    rows = (
        [line.number, line.id, line.description, line.length, line.x, line.y]
        + [line.fields.get(name) for name in found.fields if name != "length"]
        for line in found.lines
    )
    return _csv(head, rows)


def residues_csv(dossier: Dossier) -> str:
    """A row a residue: its class by each track and how probable that is, or nothing where there are no tracks."""
    head = ["position", "residue"]
    for track in dossier.tracks:
        head += [track.task, f"{track.task}_probability"]
    rows = []
    for place, letter in enumerate(dossier.sequence):
        row: list[Cell] = [place + 1, letter]
        for track in dossier.tracks:
            row += [track.letters[place], track.confidence[place]]
        rows.append(row)
    return _csv(head, rows)


def properties_csv(dossiers: Iterable[Dossier]) -> str:
    """A row for each thing predicted of each protein, and each class it could be."""
    rows: list[list[Cell]] = []
    for each in dossiers:
        for found in each.properties:
            rows.append([each.number, each.id, found.task, found.value, found.number, None])
            rows += [[each.number, each.id, found.task, share.name, None, share.probability] for share in found.shares]
    return _csv(["number", "id", "task", "value", "predicted_number", "probability"], rows)


def variants_csv(dossier: Dossier) -> str:
    """A row a single substitution: its score and its calibrated score, in nats."""
    found = dossier.variants
    rows: list[list[Cell]] = []
    for place, letter in enumerate(dossier.sequence if found else ""):
        assert found is not None
        for column, mutant in enumerate(found.columns):
            if mutant != letter:
                scores = found.scores[place][column], found.calibrated[place][column]
                rows.append([f"{letter}{place + 1}{mutant}", *scores, found.method])
    return _csv(["mutant", "score", "calibrated_score", "method"], rows)


def contacts_csv(dossier: Dossier) -> str:
    """A row a pair of residues, most probable first."""
    pairs = dossier.contacts.pairs if dossier.contacts else ()
    letters = dossier.sequence
    rows = ([i, letters[i - 1], j, letters[j - 1], share] for i, j, share in pairs)
    return _csv(["position_1", "residue_1", "position_2", "residue_2", "probability"], rows)


def neighbours_csv(dossiers: Iterable[Dossier]) -> str:
    """A row a neighbour, with its labels."""
    several = list(dossiers)
    names = list(dict.fromkeys(label.name for each in several for near in each.neighbours for label in near.labels))
    head = ["number", "query", "rank", "neighbour", "description", "distance", "similarity"]
    head += [word for name in names for word in (name, f"{name}_reliability")]
    rows: list[list[Cell]] = []
    for each in several:
        for near in each.neighbours:
            labels = {label.name: label for label in near.labels}
            row: list[Cell] = [each.number, each.id, near.rank, near.id, near.description, near.distance]
            row.append(near.similarity)
            for name in names:
                row += [labels[name].value, labels[name].reliability] if name in labels else [None, None]
            rows.append(row)
    return _csv(head, rows)


def completions_fasta(dossiers: Iterable[Dossier]) -> str:
    """Each protein's first half with the second half that the model wrote."""
    several = [(each, each.second_half) for each in dossiers]
    return "".join(
        f">{each.id} kept={half.kept} identical={half.num_identical}/{len(half.truth)}\n"
        f"{_wrapped(each.sequence[: half.kept] + half.written)}\n"
        for each, half in several
        if half
    )


def sequences_fasta(dossiers: Iterable[Dossier]) -> str:
    """The proteins themselves, as they were read."""
    return "".join(f">{f'{each.id} {each.description}'.strip()}\n{_wrapped(each.sequence)}\n" for each in dossiers)


def _wrapped(sequence: str) -> str:
    return "\n".join(sequence[start : start + 60] for start in range(0, len(sequence), 60))


def _csv(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Cell) -> str:
    """Numbers short; a text that a spreadsheet would run as a formula behind an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "@", "+", "-", "\t", "\r") else text
