"""AdamW: PyTorch's own, with its state held as named tensors from the start."""

from collections.abc import Mapping

import torch
from torch import Tensor

from openankh.pretraining.sharding import HeldParameter


class AdamW:
    """`torch.optim.AdamW` over named parameters; the decay is decoupled from the gradient (arXiv 1711.05101)."""

    def __init__(
        self,
        parameters: Mapping[str, HeldParameter],
        learning_rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.parameters = dict(parameters)
        self.learning_rate = learning_rate
        held = [parameter.held for parameter in self.parameters.values()]
        self.rule = torch.optim.AdamW(
            held, lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
        )
        for parameter in held:
            self.rule.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }

    def tensors(self) -> dict[str, Tensor]:
        """The live state: what `step` reads and writes beside the parameters."""
        return {
            f"{name}/{kind}": p.whole(tensor) if tensor.ndim else tensor
            for name, p in self.parameters.items()
            for kind, tensor in self.rule.state[p.held].items()
        }

    def step(self, factor: float) -> None:
        """Update every parameter from its gradient, at `factor` times the learning rate."""
        for group in self.rule.param_groups:
            group["lr"] = self.learning_rate * factor
        self.rule.step()
