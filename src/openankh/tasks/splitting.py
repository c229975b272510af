"""Splits of unlike proteins: whole clusters of similar sequences go to one side, since random splits flatter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.tasks.examples import Examples
from openankh.tasks.kmer_clusters import kmer_clusters
from openankh.tasks.mmseqs_clusters import has_mmseqs, mmseqs_clusters
from openankh.tasks.task import Cut

Method = Literal["auto", "words", "mmseqs", "random"]
METHODS: tuple[Method, ...] = get_args(Method)
ENOUGH = 0.25
"""A part that clusters fill to less than this share of what is wanted is taken for not filled."""
FLATTERED = (
    "at random, since most are relatives of each other: figures will flatter; a column split of your own is better"
)
_HOW: Mapping[Method, str] = {
    "words": "by clusters of sequences that share words",
    "mmseqs": "by clusters of MMseqs2",
    "random": "at random: figures flatter where proteins are relatives",
}


@dataclass(frozen=True)
class Division:
    """Splits with new parts cut from one of them, and how that was done, in words."""

    splits: Mapping[str, Examples]
    how: str


def cluster(sequences: Sequence[str], identity: float, method: Method = "words") -> NDArray[np.int64]:
    """The number of each sequence's cluster (N,); `random` puts equal sequences together and no others."""
    if method == "mmseqs":
        return mmseqs_clusters(sequences, identity)
    if method == "random":
        numbers = {sequence: number for number, sequence in enumerate(dict.fromkeys(sequences))}
        return np.array([numbers[sequence] for sequence in sequences], np.int64)
    return kmer_clusters(sequences, identity)


def cut_by_clusters(splits: Mapping[str, Examples], cut: Cut, method: Method = "words") -> Division:
    """Divide one split by its clusters; the others stay. UserError when a part of it would be empty.

    With `words` the same proteins are divided alike on every machine. `auto` takes MMseqs2 where it is installed, else
    words, and divides at random where nearly all proteins are one family, as the variants of one protein.
    """
    whole = splits.get(cut.of)
    if whole is None or not len(whole):
        raise UserError(f"the split {cut.of} is empty, so nothing can be cut from it")
    chosen = method if method != "auto" else "mmseqs" if has_mmseqs() else "words"
    places, how = _places(whole, cut, chosen), _HOW[chosen]
    if method == "auto" and not _is_filled(places, cut, len(whole), ENOUGH):
        places, how = _places(whole, cut, "random"), FLATTERED
    if not _is_filled(places, cut, len(whole), 0):
        raise UserError(
            f"{len(whole):,} proteins are too few, or too much alike, to cut validation and test proteins from; "
            "give more, or a column split of your own"
        )
    made = {name: whole.at(found) for name, found in places.items() if found}
    return Division({**{name: part for name, part in splits.items() if name != cut.of}, **made}, how)


def _places(whole: Examples, cut: Cut, method: Method) -> dict[str, list[int]]:
    clusters_N = cluster(whole.sequences, cut.identity, method)
    return divide(clusters_N, _shares(cut), cut.of, cut.seed, _classes(whole))


def _shares(cut: Cut) -> dict[str, float]:
    return {name: share for name, share in (("test", cut.test), ("valid", cut.valid)) if share}


def _is_filled(places: Mapping[str, Sequence[int]], cut: Cut, num: int, enough: float) -> bool:
    """Whether each part, and what they are cut from, has some proteins, and of what is wanted at least this share."""
    wanted = {name: share * num for name, share in _shares(cut).items()}
    return all(len(found) >= max(enough * wanted.get(name, 0), 1) for name, found in places.items())


def divide(
    clusters_N: NDArray[np.integer],
    shares: Mapping[str, float],
    rest: str,
    seed: int = 0,
    classes_N: Sequence[int] = (),
) -> dict[str, list[int]]:
    """Places of the examples of each part, clusters never torn.

    Clusters are drawn one by one, each for the part that is emptiest; one that would overfill every part goes to the
    `rest`, and so does the smallest cluster of a class of which the rest would have nothing.
    """
    numbers, sizes = np.unique(clusters_N, return_counts=True)
    size_of = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
    room = {name: share * len(clusters_N) for name, share in shares.items()}
    part_of: dict[int, str] = {}
    for number in np.random.default_rng(seed).permutation(numbers).tolist():
        fitting = [name for name, left in room.items() if size_of[number] <= left + 0.5]
        name = max(fitting, key=lambda name: room[name] / shares[name], default=rest)
        if name != rest:
            room[name] -= size_of[number]
        part_of[number] = name
    members: dict[int, set[int]] = {}
    for number, kind in zip(clusters_N.tolist(), classes_N, strict=False):
        members.setdefault(kind, set()).add(number)
    for found in members.values():
        if all(part_of[number] != rest for number in found):
            part_of[min(found, key=lambda number: (size_of[number], number))] = rest
    parts: dict[str, list[int]] = {rest: [], **{name: [] for name in shares}}
    for place, number in enumerate(clusters_N.tolist()):
        parts[part_of[number]].append(place)
    return parts


def _classes(examples: Examples) -> Sequence[int]:
    """The class of each protein, if that is what its target is."""
    if all(target.ndim == 0 and target.dtype.kind == "i" for target in examples.targets):
        return [int(target) for target in examples.targets]
    return ()
