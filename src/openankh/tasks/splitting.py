"""Splits of unlike proteins: whole clusters of similar sequences go to one side, since random splits flatter."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.tasks.examples import Examples
from openankh.tasks.kmer_clusters import kmer_clusters
from openankh.tasks.mmseqs_clusters import has_mmseqs, mmseqs_clusters
from openankh.tasks.task import Cut

Method = Literal["auto", "words", "mmseqs"]


def cluster(sequences: Sequence[str], identity: float, method: Method = "words") -> NDArray[np.int64]:
    """The number of each sequence's cluster (N,); `auto` takes MMseqs2 where it is installed, else common words."""
    if method == "mmseqs" or (method == "auto" and has_mmseqs()):
        return mmseqs_clusters(sequences, identity)
    return kmer_clusters(sequences, identity)


def cut_by_clusters(splits: Mapping[str, Examples], cut: Cut, method: Method = "words") -> dict[str, Examples]:
    """Divide one split by its clusters; the others stay. UserError when a part of it would be empty.

    With `words` the same proteins are divided alike on every machine.
    """
    whole = splits.get(cut.of)
    if whole is None or not len(whole):
        raise UserError(f"the split {cut.of} is empty, so nothing can be cut from it")
    shares = {"test": cut.test, "valid": cut.valid}
    clusters_N = cluster(whole.sequences, cut.identity, method)
    places = divide(clusters_N, shares, cut.of, cut.seed, _classes(whole))
    for name, share in shares.items():
        if share and not places[name]:
            raise UserError(
                f"the split {name} would be empty: {len(whole):,} proteins form too few clusters of similar sequences; "
                "give more proteins, or a column split of your own"
            )
    made = {name: whole.at(found) for name, found in places.items() if found}
    return {**{name: part for name, part in splits.items() if name != cut.of}, **made}


def divide(
    clusters_N: NDArray[np.integer],
    shares: Mapping[str, float],
    rest: str,
    seed: int = 0,
    classes_N: Sequence[int] = (),
) -> dict[str, list[int]]:
    """Places of the examples of each part, clusters never torn: they are drawn one by one until a share is full.

    A cluster that would overfill every share goes to the `rest`, and so does the smallest cluster of a class of which
    the rest would have nothing.
    """
    numbers, sizes = np.unique(clusters_N, return_counts=True)
    size_of = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
    room = {name: share * len(clusters_N) for name, share in shares.items()}
    part_of: dict[int, str] = {}
    for number in np.random.default_rng(seed).permutation(numbers).tolist():
        name = next((name for name, left in room.items() if size_of[number] <= left + 0.5), rest)
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
