"""Linear probes that tell in a minute what an encoder knows, for comparing encoders while they are being made.

Four of the tasks the Ankh paper compares its ablations by. All learn from a sample of the training split and are
measured on validation proteins of other clusters (secondary structure, localisation) or superfamilies (contact, fold);
test sets are never read. The same seed draws the same proteins for every encoder, so scores can be compared in pairs.
L residues, D model width, N examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.tasks.contact_precision import RANGES, precision_at
from openankh.tasks.logistic_regression import fit_logistic_regression
from openankh.tasks.probe_samples import (
    ContactSample,
    ProteinSample,
    ResidueSample,
    contact_sample,
    fold_sample,
    localisation_sample,
    secondary_structure_sample,
)

Embed = Callable[[Sequence[str]], list[np.ndarray]]
"""From sequences to one array (L, D) each, a row a residue."""
ProbeTask = Literal["secondary-structure", "contact", "localisation", "fold"]
Metric = Literal["Q3", "P@L/5", "accuracy"]

RESIDUE_DECAY, PAIR_DECAY, PROTEIN_DECAY = 1e-4, 1e-3, 1e-2
_PROTEINS_AT_ONCE = 64
_NEGATIVES_PER_CONTACT = 4


@dataclass(frozen=True)
class ProbeScore:
    """How well a probe did: `value` from 0 to 1 over `num_examples` residues, chains or proteins."""

    task: ProbeTask
    metric: Metric
    value: float
    num_examples: int


@dataclass(frozen=True)
class _Numbers:
    """How many proteins are drawn for training and for measuring, None all; `per_fold` limits those of one fold."""

    chains: tuple[int | None, int | None]
    domains: tuple[int | None, int | None]
    proteins: tuple[int | None, int | None]
    per_fold: int | None
    longest: int


_NUMBERS = {
    "quick": _Numbers((250, 150), (80, 80), (700, 400), 8, 256),
    "full": _Numbers((2000, 1079), (300, 300), (None, None), None, 512),
}


def quick_probes(
    embed: Embed,
    data: Path,
    *,
    seed: int = 0,
    size: Literal["quick", "full"] = "quick",
    shuffle_labels: bool = False,
) -> tuple[ProbeScore, ...]:
    """Probe an encoder for secondary structure, contacts, localisation and fold.

    `embed` gives each sequence's rows (L, D), in float32; `data` is a folder laid out as `docs/data.md` says. Fold is
    asked among the folds of the validation domains (all 1,194 with `full`). `shuffle_labels` gives the labels of the
    training examples to others of them, a control that must fall to chance. Raises UserError for data that is missing.
    """
    if size not in _NUMBERS:
        raise UserError(f"size {size!r}: not one of {', '.join(_NUMBERS)}")
    numbers = _NUMBERS[size]
    generators = [np.random.default_rng((seed, number)) for number in range(4)]
    shuffler = np.random.default_rng((seed, 4)) if shuffle_labels else None
    chains = secondary_structure_sample(data, generators[0], *numbers.chains, numbers.longest)
    domains = contact_sample(data, generators[1], *numbers.domains, numbers.longest)
    proteins = localisation_sample(data, generators[2], *numbers.proteins, numbers.longest)
    folds = fold_sample(data, generators[3], numbers.per_fold, numbers.longest)
    return (
        _probe_residues(embed, chains, shuffler),
        _probe_contacts(embed, domains, generators[1], shuffler),
        _probe_proteins(embed, "localisation", proteins, shuffler),
        _probe_proteins(embed, "fold", folds, shuffler),
    )


def _probe_residues(embed: Embed, sample: ResidueSample, shuffler: np.random.Generator | None) -> ProbeScore:
    """Share of resolved residues whose structure (of three) is told right."""
    features, classes = [], []
    for part in (sample.train, sample.valid):
        rows_ND = np.concatenate([array.astype(np.float32, copy=False) for array in embed(part.sequences)])
        is_known_N = np.concatenate(part.known)
        features.append(rows_ND[is_known_N])
        classes.append(np.concatenate(part.classes)[is_known_N])
    learned = classes[0] if shuffler is None else shuffler.permutation(classes[0])
    probe = fit_logistic_regression(features[0], learned, sample.num_classes, decay=RESIDUE_DECAY)
    hits_N = probe.predict(features[1]) == classes[1]
    return ProbeScore("secondary-structure", "Q3", float(hits_N.mean()), len(hits_N))


def _probe_proteins(
    embed: Embed, task: ProbeTask, sample: ProteinSample, shuffler: np.random.Generator | None
) -> ProbeScore:
    """Share of proteins whose class is told right from the mean of their rows."""
    if shuffler is not None:
        sample = replace(sample, train_classes=shuffler.permutation(sample.train_classes))
    train_ND, valid_ND = (_means(embed, sequences) for sequences in (sample.train, sample.valid))
    probe = fit_logistic_regression(train_ND, sample.train_classes, sample.num_classes, decay=PROTEIN_DECAY)
    hits_N = probe.predict(valid_ND) == sample.valid_classes
    return ProbeScore(task, "accuracy", float(hits_N.mean()), len(hits_N))


def _means(embed: Embed, sequences: Sequence[str]) -> NDArray[np.float32]:
    """The mean row of each protein (N, D); rows of few proteins are held at a time."""
    means = []
    for start in range(0, len(sequences), _PROTEINS_AT_ONCE):
        means += [array.mean(axis=0, dtype=np.float64) for array in embed(sequences[start : start + _PROTEINS_AT_ONCE])]
    return np.stack(means).astype(np.float32)


def _probe_contacts(
    embed: Embed, sample: ContactSample, generator: np.random.Generator, shuffler: np.random.Generator | None
) -> ProbeScore:
    """Mean over chains of the share of contacts among the L / 5 pairs ranked highest, six residues apart or more."""
    train = embed(sample.train)
    rows_ND = np.concatenate(train)
    mean_D, scale_D = rows_ND.mean(axis=0), rows_ND.std(axis=0) + 1e-6
    pairs, labels = [], []
    for rows_LD, contacts_LL in zip(train, sample.train_contacts, strict=True):
        first, second = _drawn_pairs(contacts_LL, generator)
        pairs.append(_pair_features((rows_LD - mean_D) / scale_D, first, second))
        labels.append(contacts_LL[first, second].astype(np.int64))
    labels_N = np.concatenate(labels)
    learned_N = labels_N if shuffler is None else shuffler.permutation(labels_N)
    probe = fit_logistic_regression(np.concatenate(pairs), learned_N, 2, decay=PAIR_DECAY)
    precisions = []
    for rows_LD, contacts_LL in zip(embed(sample.valid), sample.valid_contacts, strict=True):
        first, second = RANGES["all"].pairs(len(rows_LD))
        logits_N2 = probe.scores(_pair_features((rows_LD - mean_D) / scale_D, first, second))
        scores_LL = np.zeros(contacts_LL.shape, np.float32)
        scores_LL[first, second] = logits_N2[:, 1] - logits_N2[:, 0]
        precisions.append(precision_at(scores_LL, contacts_LL))
    return ProbeScore("contact", "P@L/5", float(np.mean(precisions)), len(precisions))


def _drawn_pairs(
    contacts_LL: NDArray[np.bool_], generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All contacts of a chain, and some times as many other pairs: contacts are rare."""
    first, second = RANGES["all"].pairs(len(contacts_LL))
    is_contact = contacts_LL[first, second]
    (contacts,), (others,) = np.nonzero(is_contact), np.nonzero(~is_contact)
    num = min(_NEGATIVES_PER_CONTACT * max(len(contacts), 1), len(others))
    chosen = np.sort(np.concatenate([contacts, generator.choice(others, num, replace=False)]))
    return first[chosen], second[chosen]


def _pair_features(
    rows_LD: NDArray[np.floating], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Of each pair the product of its rows and their distance, number by number (N, 2D); the same from either side."""
    one_ND, other_ND = rows_LD[first], rows_LD[second]
    return np.concatenate([one_ND * other_ND, np.abs(one_ND - other_ND)], axis=1, dtype=np.float32)
