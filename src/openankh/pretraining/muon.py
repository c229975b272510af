"""Muon: momentum whose matrices are made orthogonal before they are applied, many equal-shaped matrices at a time."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

# Keller Jordan's quintic: the steepest slope at zero that still ends with singular values between 0.5 and 1.5.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NORM_FLOOR = 1e-7
# Matrices orthogonalised together: on a CPU as many as stay in the second-level cache, on a GPU enough to fill it.
NUMBERS_A_BATCH = {"cpu": 2**20, "cuda": 2**26}


class Muon:
    """Nesterov momentum, orthogonalised by Newton-Schulz steps in bfloat16 (kellerjordan.github.io/posts/muon).

    An update's spectral norm is about the learning rate times sqrt(max(1, rows / columns)), as in `torch.optim.Muon`.
    All parameters are matrices [out, in].
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        num_newton_schulz: int = 5,
    ):
        assert all(p.ndim == 2 for p in parameters.values()), "Muon updates matrices alone"
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.num_newton_schulz = num_newton_schulz
        self.stacks = [_Stack(names, parameters) for names in _batches(parameters)]

    def tensors(self) -> dict[str, Tensor]:
        """The live state: what `step` reads and writes beside the parameters."""
        return {f"{name}/momentum": m for s in self.stacks for name, m in zip(s.names, s.momentum_NOI, strict=True)}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update every matrix from its gradient, at `factor` times the learning rate."""
        rate = self.learning_rate * factor
        for stack in self.stacks:
            gradient_NOI = stack.gradients()
            stack.momentum_NOI.lerp_(gradient_NOI, 1 - self.momentum)
            ahead_NOI = gradient_NOI.lerp_(stack.momentum_NOI, self.momentum)
            update_NOI = orthogonalise(ahead_NOI, self.num_newton_schulz).to(ahead_NOI.dtype)
            scale = max(1.0, update_NOI.shape[1] / update_NOI.shape[2]) ** 0.5
            for matrix, update_OI in zip(stack.matrices, update_NOI, strict=True):
                if self.weight_decay:
                    matrix.mul_(1 - rate * self.weight_decay)
                matrix.add_(update_OI, alpha=-rate * scale)


class _Stack:
    """Equal-shaped matrices that are updated together, and their momentum as one tensor."""

    def __init__(self, names: list[str], parameters: Mapping[str, nn.Parameter]):
        self.names = names
        self.matrices: list[Tensor] = [parameters[name] for name in names]
        self.momentum_NOI = torch.zeros_like(torch.stack([m.detach() for m in self.matrices]))

    def gradients(self) -> Tensor:
        """A fresh tensor [matrices, out, in]."""
        gradients = []
        for name, matrix in zip(self.names, self.matrices, strict=True):
            assert matrix.grad is not None, f"{name} has no gradient"
            gradients.append(matrix.grad)
        return torch.stack(gradients)


def _batches(parameters: Mapping[str, nn.Parameter]) -> Iterator[list[str]]:
    """Names of equal-shaped matrices, as many together as a batch holds."""
    by_shape: dict[tuple[torch.Size, torch.device], list[str]] = defaultdict(list)
    for name, parameter in parameters.items():
        by_shape[parameter.shape, parameter.device].append(name)
    for (shape, device), names in by_shape.items():
        size = max(1, NUMBERS_A_BATCH.get(device.type, 2**20) // shape.numel())
        yield from (names[start : start + size] for start in range(0, len(names), size))


def orthogonalise(matrices_NOI: Tensor, num_steps: int = 5) -> Tensor:
    """Each matrix U S V^T of a stack replaced by about U V^T, in bfloat16; singular values end between 0.5 and 1.5."""
    x_NOI = matrices_NOI.bfloat16()
    tall = x_NOI.shape[1] > x_NOI.shape[2]
    if tall:
        x_NOI = x_NOI.mT.contiguous()
    x_NOI = x_NOI / torch.linalg.matrix_norm(x_NOI, keepdim=True).clamp(min=NORM_FLOOR)
    a, b, c = COEFFICIENTS
    for _ in range(num_steps):
        gram_NOO = x_NOI @ x_NOI.mT
        polynomial_NOO = torch.baddbmm(gram_NOO, gram_NOO, gram_NOO, beta=b, alpha=c)
        x_NOI = torch.baddbmm(x_NOI, polynomial_NOO, x_NOI, beta=a)
    return x_NOI.mT if tall else x_NOI
