"""A protein family: its members from FASTA or a table, and which of them are held out of what is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.tasks.table import plain_suffix, read_table
from openankh.vocab import Vocab

_TABLES = (".csv", ".tsv", ".tab", ".txt")
_ID_COLUMNS = ("id", "name", "accession", "entry")


@dataclass(frozen=True, eq=False)
class Family:
    """Members in the order of their file; `groups` tells which of them are relatives that are held out together."""

    name: str
    members: tuple[Record, ...]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """The members learned from, and those held out."""

    learned: tuple[Record, ...]
    held_out: tuple[Record, ...]


def read_family(source: str, vocab: Vocab, column: str = "sequence", group_column: str | None = None) -> Family:
    """Read a FASTA file (`-` is standard input), or a CSV or TSV table with a column of sequences.

    Raises UserError for a file without members, and for letters that are no residues, with their line.
    """
    if source == "-" or plain_suffix(Path(source)) not in _TABLES:
        if group_column is not None:
            raise UserError(f"--groups {group_column}: names a column, but {source} is FASTA; give a CSV or TSV table")
        return Family(source, tuple(FastaReader(source, ReadOptions(vocab.letters))))
    table = read_table(source)
    cells = table.column(column)
    if not cells:
        raise UserError(f"{table.name}: has no rows; give a protein a row under its header")
    named = next((name for name in _ID_COLUMNS if name in table), None)
    ids = table.column(named) if named else [f"row{line}" for line in table.lines]
    members = [
        Record(name, "", _checked(cell, vocab, f"{table.name}, line {line}"), line)
        for name, cell, line in zip(ids, cells, table.lines, strict=True)
    ]
    return Family(table.name, tuple(members), None if group_column is None else table.column(group_column))


def long_enough(family: Family, num_residues: int) -> tuple[Family, int]:
    """The family without members of at most so many residues, and how many those are; UserError if it is all."""
    kept = [place for place, member in enumerate(family.members) if len(member.sequence) > num_residues]
    if not kept:
        longest = max(len(member.sequence) for member in family.members)
        raise UserError(
            f"{family.name}: its longest member has {longest} residues, so that none goes on behind a prompt of "
            f"{num_residues}; lower --prompt"
        )
    groups = None if family.groups is None else tuple(family.groups[place] for place in kept)
    members = tuple(family.members[place] for place in kept)
    return Family(family.name, members, groups), len(family.members) - len(kept)


def split(family: Family, share: float, seed: int) -> Split:
    """Hold out a share of the members, at random, whole groups at a time; UserError where none would be left."""
    if share == 0:
        return Split(family.members, ())
    keys = family.groups or tuple(member.sequence for member in family.members)  # equal sequences stay together
    wanted, chosen, num = share * len(family.members), set[str](), 0
    counts = _counts(keys)
    different = list(counts)
    for place in np.random.default_rng(seed).permutation(len(different)).tolist():
        if num >= wanted:
            break
        if num + counts[different[place]] <= max(2 * wanted, 1):  # no single group makes it far more than was asked for
            chosen.add(different[place])
            num += counts[different[place]]
    parts: tuple[list[Record], list[Record]] = ([], [])
    for member, key in zip(family.members, keys, strict=True):
        parts[key in chosen].append(member)
    if not parts[0]:
        raise UserError(
            f"{family.name}: {len(family.members)} members, of which holding out a share of {share:g} leaves none to "
            "learn from; lower --holdout, or give more members"
        )
    return Split(tuple(parts[0]), tuple(parts[1]))


def _counts(keys: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts


def _checked(cell: str, vocab: Vocab, where: str) -> str:
    sequence = cell.upper()
    if not sequence:
        raise UserError(f"{where}: the sequence is empty; fill it in or remove the row")
    try:
        vocab.encode(sequence)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return sequence
