"""What training a head lowers, by the kind of target.

B proteins, L residues, C classes or labels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from openankh.errors import UserError
from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import RANGES
from openankh.tasks.examples import Examples
from openankh.tasks.target_space import IGNORED, Classes, Contacts, Labels, Numbers, TargetSpace

ClassWeights = Literal["none", "balanced"]
CLASS_WEIGHTS: tuple[ClassWeights, ...] = get_args(ClassWeights)


def class_weights(space: TargetSpace, examples: Examples, choice: ClassWeights) -> Tensor | None:
    """The weight of each class (C,), or of each label where it is true.

    `balanced` gives every class the same weight in sum: N / (C times its members). None for no weights.
    """
    if choice not in CLASS_WEIGHTS:
        raise UserError(f"class weights {choice!r}: not one of {', '.join(CLASS_WEIGHTS)}")
    if choice == "none":
        return None
    if isinstance(space, Labels):
        true_C = np.maximum(np.sum(examples.targets, axis=0), 1)
        return torch.tensor((len(examples) - true_C).clip(min=1) / true_C, dtype=torch.float32)
    if not isinstance(space, Classes):
        raise UserError("class weights balanced: only classes and labels have weights; use none")
    counts_C = np.zeros(len(space.names), np.int64)
    for target in examples.targets:
        each = np.atleast_1d(target)
        counts_C += np.bincount(each[each != IGNORED], minlength=len(counts_C))
    weights_C = counts_C.sum() / (np.maximum(counts_C, 1) * max(int((counts_C > 0).sum()), 1))
    return torch.tensor(np.where(counts_C > 0, weights_C, 0), dtype=torch.float32)


def loss_of(space: TargetSpace, outputs: Tensor, targets: Sequence[NDArray], weights_C: Tensor | None) -> Tensor:
    """The mean loss over what is counted of a batch; a number's is in deviations of the training numbers, squared."""
    if isinstance(space, Numbers):
        true_B = _tensor(np.array(targets, np.float32), outputs)
        return ((outputs.flatten() - true_B) / space.deviation).square().mean()
    if isinstance(space, Labels):
        true_BC = _tensor(np.array(targets, np.float32), outputs)
        return binary_cross_entropy_with_logits(outputs, true_BC, pos_weight=weights_C)
    if isinstance(space, Contacts):
        return _contact_loss(space, outputs, targets)
    assert isinstance(space, Classes)
    if outputs.ndim == 2:
        return cross_entropy(outputs, _tensor(np.array(targets, np.int64), outputs), weights_C)
    true_BL = np.full(outputs.shape[:2], IGNORED, np.int64)
    for row, target_L in zip(true_BL, targets, strict=True):
        row[: len(target_L)] = target_L
    is_counted = true_BL != IGNORED
    if not is_counted.any():
        return outputs.sum() * 0
    counted = torch.from_numpy(is_counted).to(outputs.device)
    return cross_entropy(outputs[counted], _tensor(true_BL[is_counted], outputs), weights_C)


def _contact_loss(space: Contacts, outputs_BLL: Tensor, targets: Sequence[NDArray]) -> Tensor:
    """Over pairs far enough apart along the chain whose coordinates are known."""
    told, true = [], []
    for scores_LL, xyz_L3 in zip(outputs_BLL, targets, strict=True):
        first, second = RANGES["all"].pairs(len(xyz_L3))
        known_L = ~np.isnan(xyz_L3[:, 0])
        is_counted = known_L[first] & known_L[second]
        first, second = first[is_counted], second[is_counted]
        told.append(scores_LL[torch.from_numpy(first), torch.from_numpy(second)])
        true.append(contact_map(xyz_L3, space.max_angstroms)[first, second])
    logits = torch.cat(told)
    if not len(logits):
        return outputs_BLL.sum() * 0
    return binary_cross_entropy_with_logits(logits, _tensor(np.concatenate(true).astype(np.float32), outputs_BLL))


def _tensor(values: NDArray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device)
