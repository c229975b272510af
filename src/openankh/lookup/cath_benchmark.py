"""The CATH benchmark of a model: accuracy by level beside what needs no training, and how honest reliabilities are.

What is chosen (pool and layer) is chosen on val200 alone; test219 is asked once, by the published protocol and by that
choice. Q queries, N lookup domains, 4 levels (C, A, T, H).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.loaded import LoadedModel
from openankh.lookup.pooled_states import Choice, pooled_states
from openankh.lookup.watching import SILENT, Watcher
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.search.cath import (
    LEVELS,
    Domains,
    Interval,
    accuracies,
    chances,
    composition,
    composition_and_dipeptides,
    counted,
    hits_of,
    nearest_domains,
)
from openankh.search.exact import ExactSearch
from openankh.search.nearest_pairs import Neighbours
from openankh.search.transfer import LabelTransfer
from openankh.search.vectors import ArrayVectors
from openankh.store import Pool

VALIDATION, TEST, LOOKUP = "val200", "test219", "lookup_s20"
MAX_RANDOM_PARAMETERS = 100_000_000
"""Larger encoders are not drawn anew: it would take longer than the benchmark."""
_TOLD = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01))

Accuracy = Mapping[str, Interval]
Vectors = Mapping[str, NDArray[np.floating]]
"""The vectors (N, D) of each set of domains, by its name."""


@dataclass(frozen=True)
class Row:
    """Who, and its accuracy by level on each set of queries."""

    name: str
    accuracy: Mapping[str, Accuracy]


@dataclass(frozen=True)
class Honesty:
    """Of neighbours whose reliability was told to lie from `low` to `high`: how many, what was told, what was right."""

    low: float
    high: float
    num: int
    told: float
    right: float


@dataclass(frozen=True)
class CathResult:
    """All that was measured.

    `rows`: the model by the published protocol (mean, last layer), by the choice if one was made, and the controls.
    `compared`: each pool and layer on val200. `honesty`: of reliabilities at all levels, by set of queries.
    """

    model: str
    num_lookup: int
    nums: Mapping[str, Mapping[str, int]]
    rows: Sequence[Row]
    compared: Mapping[Choice, Accuracy]
    chosen: Choice | None
    honesty: Mapping[str, Sequence[Honesty]]


@dataclass(frozen=True, eq=False)
class Cath:
    """The sets of domains: the queries to choose by, those to report on, and what is searched."""

    sets: Mapping[str, Domains]

    @classmethod
    def read(cls, data: Path) -> "Cath":
        """From the folder with the three tables, or the one that holds it as `annotation_transfer`."""
        folder = data / "annotation_transfer" if (data / "annotation_transfer").is_dir() else data
        if not folder.is_dir():
            raise UserError(f"{data}: no such folder; give the one that holds {LOOKUP}.csv.gz")
        return cls({name: Domains.read(folder / f"{name}.csv.gz") for name in (VALIDATION, TEST, LOOKUP)})

    def limited(self, limit: int | None) -> "Cath":
        """With at most so many domains of each set, always the same ones, for quick trials."""
        if limit is None:
            return self
        return Cath({name: domains.drawn(limit) for name, domains in self.sets.items()})

    @property
    def lookup(self) -> Domains:
        """What is searched."""
        return self.sets[LOOKUP]

    def found(self, name: str, vectors: Vectors) -> Neighbours:
        """The nearest lookup domain of each query of a set."""
        return nearest_domains(self.sets[name], self.lookup, vectors[name], vectors[LOOKUP])

    def hits(self, name: str, vectors: Vectors) -> NDArray[np.bool_]:
        """Whether it has the query's code at each level (Q, 4)."""
        return hits_of(self.sets[name], self.lookup, self.found(name, vectors))

    def accuracy(self, name: str, hits_Q4: NDArray) -> Accuracy:
        """Accuracy by level of a set's queries whose code occurs in the lookup set."""
        return accuracies(hits_Q4, counted(self.sets[name], self.lookup))

    def row(self, name: str, hits_of_set: Callable[[str], NDArray]) -> Row:
        """One row of the table, on both sets of queries."""
        return Row(name, {each: self.accuracy(each, hits_of_set(each)) for each in (VALIDATION, TEST)})

    def by_feature(self, feature: Callable[[Sequence[str]], NDArray[np.floating]]) -> Vectors:
        """What a function makes of the sequences of each set."""
        return {name: feature(domains.sequences) for name, domains in self.sets.items()}


def run_cath(
    model: LoadedModel,
    data: Path,
    *,
    compare: bool = False,
    num_random: int = 3,
    watcher: Watcher = SILENT,
    limit: int | None = None,
) -> CathResult:
    """Measure a model on CATH; with `compare` every layer, pooled by mean and by maximum, on val200 first.

    `num_random` models of the same shape with random weights are a control; none for 100 million parameters and more.
    `limit` takes no more domains of each set, for quick trials.
    """
    cath = Cath.read(data).limited(limit)
    kinds = _vectors_of(cath, model, compare, watcher)
    protocol = Choice(model.model.config.num_encoder_layers, "mean")
    compared = {choice: cath.accuracy(VALIDATION, cath.hits(VALIDATION, found)) for choice, found in kinds.items()}
    chosen = max(compared, key=lambda choice: _mean(compared[choice])) if compare else None
    rows = [cath.row(f"{model.name}: mean, last layer", lambda name: cath.hits(name, kinds[protocol]))]
    if chosen is not None and chosen != protocol:
        title = f"{model.name}: {chosen.pool}, layer {chosen.layer} (chosen on {VALIDATION})"
        rows.append(cath.row(title, lambda name: cath.hits(name, kinds[chosen])))
    rows += _controls(cath, model, num_random, watcher)
    return CathResult(
        model.name,
        len(cath.lookup),
        {name: _nums(cath, name) for name in (VALIDATION, TEST)},
        rows,
        compared if compare else {},
        chosen,
        _honesty(cath, kinds[protocol]),
    )


def _vectors_of(cath: Cath, model: LoadedModel, compare: bool, watcher: Watcher) -> Mapping[Choice, Vectors]:
    """The vectors of each set by each kind that is looked at."""
    options = EmbedOptions("residues", "all" if compare else -1, "fp32")
    pools: tuple[Pool, ...] = ("mean", "max") if compare else ("mean",)
    by_set = _embedded(cath, model.embedder(options), pools, f"embedding with {model.name}", watcher)
    return {choice: {name: kinds[choice] for name, kinds in by_set.items()} for choice in by_set[LOOKUP]}


def _embedded(
    cath: Cath, embedder: Embedder, pools: Sequence[Pool], title: str, watcher: Watcher
) -> Mapping[str, Mapping[Choice, NDArray[np.float32]]]:
    total = sum(len(sequence) for domains in cath.sets.values() for sequence in domains.sequences)
    done, made = 0, {}
    for name, domains in cath.sets.items():
        made[name] = pooled_states(
            embedder,
            domains.sequences,
            pools,
            lambda num, before=done: watcher.progress(title, before + num, total, "residues"),
        )
        done += sum(map(len, domains.sequences))
    return made


def _controls(cath: Cath, model: LoadedModel, num_random: int, watcher: Watcher) -> Iterator[Row]:
    """What needs no training."""
    for title, feature in (
        ("amino-acid composition", composition),
        ("composition and dipeptides", composition_and_dipeptides),
    ):
        vectors = cath.by_feature(feature)
        yield cath.row(title, lambda name, vectors=vectors: cath.hits(name, vectors))
    if num_random and model.model.config.num_encoder_parameters <= MAX_RANDOM_PARAMETERS:
        drawn = [_random_vectors(cath, model, seed, watcher) for seed in range(num_random)]
        title = f"random weights, mean, last layer ({num_random} seeds)"
        yield cath.row(title, lambda name: np.mean([cath.hits(name, vectors) for vectors in drawn], axis=0))
    elif num_random:
        watcher.note(f"no random weights: the encoder has over {MAX_RANDOM_PARAMETERS:,} parameters")
    yield cath.row("a random neighbour (expected)", lambda name: chances(cath.sets[name], cath.lookup))


def _random_vectors(cath: Cath, model: LoadedModel, seed: int, watcher: Watcher) -> Vectors:
    """Vectors by an encoder of the same shape with T5's own initial weights."""
    network = Ankh(replace(model.model.config, num_decoder_layers=0))
    initialise(network, model.vocab, "published", seed)
    options = EmbedOptions("residues", -1, "fp32", precision=model.precision)
    embedder = Embedder(network.eval().to(model.device), model.vocab, options)
    by_set = _embedded(cath, embedder, ("mean",), f"embedding with random weights {seed}", watcher)
    return {name: next(iter(kinds.values())) for name, kinds in by_set.items()}


def _honesty(cath: Cath, vectors: Vectors) -> Mapping[str, Sequence[Honesty]]:
    """What was told of the nearest neighbours' labels beside what was right, at all levels together."""
    transfer = LabelTransfer([cath.lookup.label], ExactSearch(ArrayVectors(vectors[LOOKUP]), "euclidean"), 1)
    return {name: _compared_with_truth(cath, name, cath.found(name, vectors), transfer) for name in (VALIDATION, TEST)}


def _compared_with_truth(cath: Cath, name: str, found: Neighbours, transfer: LabelTransfer) -> Sequence[Honesty]:
    hits_Q4 = hits_of(cath.sets[name], cath.lookup, found)
    told: list[tuple[float, bool]] = []
    for hit_4, place, distance in zip(hits_Q4, found.places[:, 0], found.distances[:, 0], strict=True):
        (one,) = transfer.of(int(place), 0, float(distance))
        told += [
            (of_level.share, bool(hit))
            for hit, (_, of_level) in zip(hit_4, one.reliability, strict=True)
            if of_level.share is not None
        ]
    made = []
    for low, high in _TOLD:
        part = np.array([(share, hit) for share, hit in told if low <= share < high], np.float64).reshape(-1, 2)
        if len(part):
            made.append(Honesty(low, min(high, 1.0), len(part), float(part[:, 0].mean()), float(part[:, 1].mean())))
    return made


def _nums(cath: Cath, name: str) -> Mapping[str, int]:
    """How many queries are counted at each level."""
    return dict(zip(LEVELS, counted(cath.sets[name], cath.lookup).sum(axis=0).tolist(), strict=True))


def _mean(accuracy: Accuracy) -> float:
    return float(np.mean([accuracy[level].value for level in LEVELS]))
