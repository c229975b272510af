"""Multinomial logistic regression on features as they are: the linear probe, fitted to its optimum.

N examples, D features, C classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Weights of features that were shifted by `mean_D` and divided by `scale_D`."""

    mean_D: NDArray[np.float32]
    scale_D: NDArray[np.float32]
    weight_CD: NDArray[np.float32]
    bias_C: NDArray[np.float32]

    def scores(self, features_ND: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits of the classes (N, C)."""
        weight_DC = (self.weight_CD / self.scale_D).T
        scores_NC = features_ND.astype(np.float32, copy=False) @ weight_DC + (self.bias_C - self.mean_D @ weight_DC)
        return scores_NC.astype(np.float32, copy=False)

    def predict(self, features_ND: NDArray[np.floating]) -> NDArray[np.intp]:
        """The class of each example (N,)."""
        return self.scores(features_ND).argmax(axis=1)


def fit_logistic_regression(
    features_ND: NDArray[np.floating],
    classes_N: NDArray[np.integer],
    num_classes: int,
    *,
    decay: float,
    num_iterations: int = 100,
) -> LogisticRegression:
    """Fit by L-BFGS from zero weights: the loss is convex, so nothing is random.

    The loss is the mean cross-entropy plus `decay` / 2 times the sum of squared weights of standardised features
    (scikit-learn's C is 1 / (N decay), for two classes 2 / (N decay)).
    """
    x_ND = torch.from_numpy(np.ascontiguousarray(features_ND, np.float32)).clone()
    mean_D, scale_D = x_ND.mean(0), x_ND.std(0, correction=0).clamp(min=_SMALLEST_SCALE)
    x_ND.sub_(mean_D).div_(scale_D)
    y_N = torch.from_numpy(np.asarray(classes_N, np.int64))
    weight_CD, bias_C = torch.zeros(num_classes, x_ND.shape[1]), torch.zeros(num_classes)
    with torch.enable_grad():
        _minimise(x_ND, y_N, weight_CD.requires_grad_(), bias_C.requires_grad_(), decay, num_iterations)
    found = (mean_D, scale_D, weight_CD.detach(), bias_C.detach())
    return LogisticRegression(*(part.numpy() for part in found))


def _minimise(x_ND: Tensor, y_N: Tensor, weight_CD: Tensor, bias_C: Tensor, decay: float, num_iterations: int) -> None:
    optimiser = torch.optim.LBFGS(
        [weight_CD, bias_C],
        max_iter=num_iterations,
        history_size=10,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = cross_entropy(torch.addmm(bias_C, x_ND, weight_CD.T), y_N) + decay / 2 * weight_CD.square().sum()
        total.backward()
        return total

    optimiser.step(loss)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
