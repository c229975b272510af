"""Adafactor: adaptive step sizes whose memory is one number a row and one a column of each matrix."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SQUARE_FLOOR = 1e-30
SCALE_FLOOR = 1e-3


class Adafactor:
    """Adafactor (arXiv 1804.04235) as used for T5: factored second moments, clipped updates, no momentum.

    `parameter_scale` multiplies each tensor's step by its own root mean square (section 8 of the paper); T5 trains so.
    `relative_step` replaces the learning rate by min(1e-2, 1/sqrt(t)) (section 9), still times the schedule's factor.
    `beta1` adds an averaged update at the cost of one more tensor a parameter.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        *,
        weight_decay: float = 0.0,
        decay_exponent: float = 0.8,
        clip_update: float = 1.0,
        parameter_scale: bool = True,
        relative_step: bool = False,
        beta1: float | None = None,
    ):
        self.parameters = dict(parameters)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.decay_exponent = decay_exponent
        self.clip_update = clip_update
        self.parameter_scale = parameter_scale
        self.relative_step = relative_step
        self.beta1 = beta1
        self.num_steps = torch.zeros((), dtype=torch.int64)
        self.moments = {name: _zero_moments(p, beta1 is not None) for name, p in self.parameters.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The live state: what `step` reads and writes beside the parameters."""
        named = {f"{name}/{kind}": value for name, kept in self.moments.items() for kind, value in kept.items()}
        return {"num_steps": self.num_steps, **named}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update every parameter from its gradient, at `factor` times the learning rate."""
        self.num_steps += 1
        num_steps = int(self.num_steps)
        rate = self.learning_rate
        if self.relative_step:
            rate = min(1e-2, num_steps**-0.5)
        newness = num_steps**-self.decay_exponent
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None, f"{name} has no gradient"
            self._update(parameter, parameter.grad, self.moments[name], newness, rate * factor)

    def _update(
        self, parameter: Tensor, gradient: Tensor, moments: dict[str, Tensor], newness: float, rate: float
    ) -> None:
        update = _normalised(gradient, moments, newness)
        update /= (_root_mean_square(update) / self.clip_update).clamp_(min=1.0)
        if self.parameter_scale:
            update *= _root_mean_square(parameter).clamp_(min=SCALE_FLOOR)
            decay = rate * self.weight_decay * _root_mean_square(parameter).clamp_(min=SCALE_FLOOR)
        else:
            decay = rate * self.weight_decay
        update *= rate
        if self.beta1 is not None:
            update = moments["average"].lerp_(update, 1 - self.beta1)
        if self.weight_decay:
            parameter.mul_(1 - decay)
        parameter.sub_(update)


def _zero_moments(parameter: Tensor, averaged: bool) -> dict[str, Tensor]:
    """Row and column means of squared gradients for a matrix, all of them for a vector."""
    if parameter.ndim == 2:
        moments = {"row": parameter.new_zeros(parameter.shape[0]), "column": parameter.new_zeros(parameter.shape[1])}
    else:
        moments = {"square": torch.zeros_like(parameter, requires_grad=False)}
    if averaged:
        moments["average"] = torch.zeros_like(parameter, requires_grad=False)
    return moments


def _normalised(gradient: Tensor, moments: dict[str, Tensor], newness: float) -> Tensor:
    """The gradient over the root of its running mean square; `newness` is 1 - beta2 of this step (section 7.2)."""
    square = gradient.square().add_(SQUARE_FLOOR)
    if gradient.ndim != 2:
        return gradient * moments["square"].lerp_(square, newness).rsqrt()
    row = moments["row"].lerp_(square.mean(dim=1), newness)
    column = moments["column"].lerp_(square.mean(dim=0), newness)
    return gradient * (row / row.mean()).rsqrt_()[:, None] * column.rsqrt()[None, :]


def _root_mean_square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor) / tensor.numel() ** 0.5
