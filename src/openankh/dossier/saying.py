"""What a predictor says of a protein, as parts of a dossier. L residues, C classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openankh.dossier.dossier import ContactMap, Property, ResidueTrack, Share
from openankh.tasks.predicting import Prediction, Predictions
from openankh.tasks.target_space import Classes, Contacts, Labels, Numbers

MIN_SEPARATION, MIN_PROBABILITY = 6, 0.05
_PAIRS_A_RESIDUE = 10
_MOST_SHARES = 12

_IN_WORDS = {"solubility": {"0": "insoluble", "1": "soluble"}}
"""Classes that their task numbers, by the beginning of its name."""

Said = ResidueTrack | Property | ContactMap


def said(predictions: Predictions, prediction: Prediction) -> Said | None:
    """One prediction; None for a number or labels of each residue, which no page shows."""
    artifact = predictions.artifact
    task, title, space = artifact.origin.task, artifact.origin.title, artifact.space
    if isinstance(space, Contacts):
        assert prediction.probabilities is not None
        pairs = probable_pairs(prediction.probabilities)
        return ContactMap(task, title, MIN_SEPARATION, MIN_PROBABILITY, pairs)
    if isinstance(space, Numbers) and isinstance(prediction.values, float):
        return Property(task, title, f"{prediction.values:.3g}", prediction.values, ())
    values = prediction.values
    if prediction.probabilities is None or not isinstance(values, tuple):
        return None
    if isinstance(space, Classes) and artifact.config.unit == "residue":
        confidence = tuple(prediction.probabilities.max(axis=1).tolist())
        return ResidueTrack(task, title, "".join(values), space.names, confidence)
    if isinstance(space, Classes | Labels) and artifact.config.unit == "protein":
        words = next((known for name, known in _IN_WORDS.items() if task.startswith(name)), {})
        names = tuple(words.get(name, name) for name in space.names)
        shares = _shares(names, prediction.probabilities)
        return Property(task, title, words.get(values[0], values[0]) or "none", None, shares)
    return None


def probable_pairs(probabilities_LL: NDArray[np.floating]) -> tuple[tuple[int, int, float], ...]:
    """The most probable pairs far enough apart, at most ten a residue, with positions from 1."""
    length = len(probabilities_LL)
    first, second = np.triu_indices(length, MIN_SEPARATION)
    found = probabilities_LL[first, second]
    order = np.argsort(-found, kind="stable")[: _PAIRS_A_RESIDUE * length]
    order = order[found[order] >= MIN_PROBABILITY]
    columns = (first[order] + 1).tolist(), (second[order] + 1).tolist(), found[order].tolist()
    return tuple(zip(*columns, strict=True))


def _shares(names: Sequence[str], probabilities: NDArray[np.floating]) -> tuple[Share, ...]:
    """The most probable classes first."""
    flat = probabilities.ravel()
    order: list[int] = np.argsort(-flat, kind="stable")[:_MOST_SHARES].tolist()
    return tuple(Share(names[place], float(flat[place])) for place in order)
