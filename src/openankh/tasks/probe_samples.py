"""What quick probes learn from and are measured on: samples of training and validation splits, drawn by a generator.

L residues, N examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_map import contact_map
from openankh.tasks.coordinates import read_coordinates
from openankh.tasks.table import Table, read_table

STRUCTURES = "CHE"
SHORTEST = 40
"""Residues a chain has at least: of shorter ones nothing can be learned of contacts."""


@dataclass(frozen=True, eq=False)
class Chains:
    """Sequences with the class of each residue (L,), and which classes are known (L,)."""

    sequences: tuple[str, ...]
    classes: tuple[NDArray[np.int64], ...]
    known: tuple[NDArray[np.bool_], ...]


@dataclass(frozen=True, eq=False)
class ResidueSample:
    """Chains to learn from and to measure on."""

    train: Chains
    valid: Chains
    num_classes: int


@dataclass(frozen=True, eq=False)
class ProteinSample:
    """Proteins with one class each (N,), to learn from and to measure on."""

    train: tuple[str, ...]
    train_classes: NDArray[np.int64]
    valid: tuple[str, ...]
    valid_classes: NDArray[np.int64]
    num_classes: int


@dataclass(frozen=True, eq=False)
class ContactSample:
    """Domains with the contacts between their residues (L, L), to learn from and to measure on."""

    train: tuple[str, ...]
    train_contacts: tuple[NDArray[np.bool_], ...]
    valid: tuple[str, ...]
    valid_contacts: tuple[NDArray[np.bool_], ...]


def secondary_structure_sample(
    data: Path, generator: np.random.Generator, num_train: int | None, num_valid: int | None, longest: int
) -> ResidueSample:
    """Chains of NetSurfP-2.0's training set and its validation part, three structures, resolved residues alone."""
    folder = data / "secondary_structure"
    parts = []
    for name, num in (("q3_train", num_train), ("q3_valid", num_valid)):
        table = read_table(folder / f"{name}.csv.gz")
        sequences, labels, resolved = (table.column(column) for column in ("sequence", "ss3", "resolved"))
        chosen = _drawn(_of_length(sequences, range(len(table)), SHORTEST, longest), num, generator)
        classes = tuple(np.array([STRUCTURES.index(letter) for letter in labels[place]]) for place in chosen)
        known = tuple(np.array([letter == "1" for letter in resolved[place]]) for place in chosen)
        parts.append(Chains(tuple(sequences[place] for place in chosen), classes, known))
    return ResidueSample(parts[0], parts[1], len(STRUCTURES))


def contact_sample(
    data: Path, generator: np.random.Generator, num_train: int | None, num_valid: int | None, longest: int
) -> ContactSample:
    """CATH domains of other superfamilies to measure on than to learn from, C-alpha contacts."""
    table = read_table(data / "contact" / "cath_s40_domains.csv.gz")
    coordinates = read_coordinates(data / "contact" / "cath_s40_ca_coords.npz")
    found: list[tuple] = []
    for split, num in (("train", num_train), ("valid", num_valid)):
        sequences = table.column("sequence")
        chosen = _drawn(_of_length(sequences, _of_split(table, split), SHORTEST, longest), num, generator)
        found.append(tuple(sequences[place] for place in chosen))
        ids = table.column("id")
        found.append(tuple(contact_map(coordinates.of(ids[place], len(sequences[place]))) for place in chosen))
    return ContactSample(*found)


def localisation_sample(
    data: Path, generator: np.random.Generator, num_train: int | None, num_valid: int | None, longest: int
) -> ProteinSample:
    """Proteins of DeepLoc in one of ten places; of long ones the two ends, where the signals are."""
    table = read_table(data / "localisation" / "deeploc1.csv.gz")
    places, sequences = table.column("location"), table.column("sequence")
    names = sorted({places[row] for row in _of_split(table, "train")})
    rows = [
        _drawn([row for row in _of_split(table, split) if places[row] in names], num, generator)
        for split, num in (("train", num_train), ("valid", num_valid))
    ]
    return _protein_sample(rows, [_both_ends(sequence, longest) for sequence in sequences], places, names)


def fold_sample(data: Path, generator: np.random.Generator, per_fold: int | None, longest: int) -> ProteinSample:
    """SCOPe domains of other superfamilies to measure on than to learn from.

    With `per_fold` only the folds of the validation domains are classes, and so many domains of each are learned from.
    """
    table = read_table(data / "fold" / "scope203_40.csv.gz")
    folds, sequences = table.column("fold"), table.column("sequence")
    train, valid = (list(_of_split(table, split)) for split in ("train", "valid"))
    if per_fold is not None:
        names = sorted({folds[row] for row in valid})
        members = ([row for row in train if folds[row] == name] for name in names)
        train = [row for rows in members for row in _drawn(rows, per_fold, generator)]
    names = sorted({folds[row] for row in train})
    return _protein_sample([train, valid], [sequence[:longest] for sequence in sequences], folds, names)


def _protein_sample(
    rows: Sequence[Sequence[int]], sequences: Sequence[str], labels: Sequence[str], names: Sequence[str]
) -> ProteinSample:
    number_of = {name: number for number, name in enumerate(names)}
    train, valid = ([row for row in part if labels[row] in number_of] for part in rows)
    return ProteinSample(
        tuple(sequences[row] for row in train),
        np.array([number_of[labels[row]] for row in train]),
        tuple(sequences[row] for row in valid),
        np.array([number_of[labels[row]] for row in valid]),
        len(names),
    )


def _of_split(table: Table, split: str) -> Sequence[int]:
    return [row for row, name in enumerate(table.column("split")) if name == split]


def _of_length(sequences: Sequence[str], rows: Sequence[int], shortest: int, longest: int) -> Sequence[int]:
    return [row for row in rows if shortest <= len(sequences[row]) <= longest]


def _drawn(rows: Sequence[int], num: int | None, generator: np.random.Generator) -> Sequence[int]:
    """So many of the rows, in order; all where there are no more."""
    if num is None or num >= len(rows):
        return rows
    return [rows[place] for place in np.sort(generator.choice(len(rows), num, replace=False))]


def _both_ends(sequence: str, longest: int) -> str:
    half = longest // 2
    return sequence if len(sequence) <= longest else sequence[:half] + sequence[-half:]
