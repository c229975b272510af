"""Adafactor: adaptive step sizes whose memory is one number a row and one a column of each matrix.

Where ranks hold rows of each matrix, what concerns the whole is added up over them, for all matrices in two messages.
"""

from collections.abc import Generator, Iterable, Mapping

import torch
from torch import Tensor

from openankh.pretraining.sharding import HeldParameter, Sums, run_together

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
        parameters: Mapping[str, HeldParameter],
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
        self.moments = {name: _zero_moments(p.held, beta1 is not None) for name, p in self.parameters.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The live state: what `step` reads and writes beside the parameters."""
        named = {
            f"{name}/{kind}": tensor if kind == "column" else self.parameters[name].whole(tensor)
            for name, kept in self.moments.items()
            for kind, tensor in kept.items()
        }
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
        updates = {name: self._update(p, self.moments[name], newness, rate * factor) for name, p in self._named()}
        for name, parameter in self._named():
            if parameter.rows is None:
                run_together([updates.pop(name)], None)
        for mesh in {p.rows.mesh for _, p in self._named() if p.rows}:
            run_together(updates.values(), mesh)

    def _named(self) -> Iterable[tuple[str, HeldParameter]]:
        return self.parameters.items()

    def _update(self, parameter: HeldParameter, moments: dict[str, Tensor], newness: float, rate: float) -> Sums:
        """One update, which takes the place of its gradient; gives sums over the rows held, is told those of all."""
        weight, update = parameter.held, parameter.held.grad
        assert update is not None, "a parameter has no gradient"
        own_square = weight.square().sum().view(1)
        if update.ndim == 2:
            row, column, square = yield from _factored_moments(update, moments, newness, parameter.shape, own_square)
            update.mul_(row.rsqrt_()[:, None]).mul_(column.rsqrt()[None, :])
        else:
            square = yield own_square
            update.mul_(moments["square"].lerp_(update.square().add_(SQUARE_FLOOR), newness).rsqrt())
        num_numbers = parameter.shape.numel()
        update_square = yield update.square().sum().view(1)
        update /= ((update_square / num_numbers).sqrt() / self.clip_update).clamp_(min=1.0)
        decay: float | Tensor = rate * self.weight_decay
        if self.parameter_scale:
            scale = (square / num_numbers).sqrt().clamp_(min=SCALE_FLOOR)
            update *= scale
            decay = decay * scale
        update *= rate
        if self.beta1 is not None:
            update = moments["average"].lerp_(update, 1 - self.beta1)
        if self.weight_decay:
            weight.mul_(1 - decay)
        weight.sub_(update)


def _zero_moments(parameter: Tensor, averaged: bool) -> dict[str, Tensor]:
    """Row and column means of squared gradients for a matrix, all of them for a vector."""
    if parameter.ndim == 2:
        moments = {"row": parameter.new_zeros(parameter.shape[0]), "column": parameter.new_zeros(parameter.shape[1])}
    else:
        moments = {"square": torch.zeros_like(parameter, requires_grad=False)}
    if averaged:
        moments["average"] = torch.zeros_like(parameter, requires_grad=False)
    return moments


def _factored_moments(
    gradient: Tensor, moments: dict[str, Tensor], newness: float, shape: torch.Size, more: Tensor
) -> Generator[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Running mean squares of the rows held, over their mean, and of all columns; `more` added up over ranks, too.

    `newness` is 1 - beta2 of this step (section 7.2).
    """
    square = gradient.square().add_(SQUARE_FLOOR)
    row = moments["row"].lerp_(square.mean(dim=1), newness)
    sums = torch.cat([square.sum(dim=0), row.sum().view(1), more])
    del square  # of all matrices at once it would be a second gradient
    columns, rows, more = (yield sums).split([shape[1], 1, 1])
    column = moments["column"].lerp_(columns / shape[0], newness)
    return row / (rows / shape[0]), column, more
