"""Contacts by logistic regression on attention maps (Rao et al., 2020): few weights, learned from a few dozen chains.

L residues, M maps, N pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.tasks.contact_precision import RANGES
from openankh.tasks.logistic_regression import LogisticRegression, fit_logistic_regression

DECAY = 1e-4


def corrected(maps_MLL: NDArray[np.floating]) -> NDArray[np.float32]:
    """The maps made the same from either side, less what rows and columns alone explain (average product)."""
    both_MLL = (maps_MLL + maps_MLL.transpose(0, 2, 1)).astype(np.float32)
    rows_ML1 = both_MLL.sum(axis=2, keepdims=True)
    total_M11 = np.maximum(rows_ML1.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return both_MLL - rows_ML1 * rows_ML1.transpose(0, 2, 1) / total_M11


@dataclass(frozen=True, eq=False)
class AttentionContacts:
    """How maps add up to contacts: one weight a map."""

    regression: LogisticRegression

    def scores(self, maps_MLL: NDArray[np.floating]) -> NDArray[np.float32]:
        """The logit of each pair being a contact (L, L)."""
        features_NM = corrected(maps_MLL).reshape(len(maps_MLL), -1).T
        logits_N2 = self.regression.scores(features_NM)
        return (logits_N2[:, 1] - logits_N2[:, 0]).reshape(maps_MLL.shape[1:])


def fit_attention_contacts(
    maps: Sequence[NDArray[np.floating]], contacts: Sequence[NDArray[np.bool_]], decay: float = DECAY
) -> AttentionContacts:
    """Learn from all pairs, six residues apart or more, of chains with their maps (M, L, L) and contacts (L, L)."""
    features, labels = [], []
    for maps_MLL, contacts_LL in zip(maps, contacts, strict=True):
        first, second = RANGES["all"].pairs(len(contacts_LL))
        features.append(corrected(maps_MLL)[:, first, second].T)
        labels.append(contacts_LL[first, second].astype(np.int64))
    regression = fit_logistic_regression(np.concatenate(features), np.concatenate(labels), 2, decay=decay)
    return AttentionContacts(regression)
