"""Muon: momentum whose matrices are made orthogonal before they are applied, many equal-shaped matrices at a time.

Where ranks hold rows of each matrix, each rank makes some of the matrices orthogonal, whole ones, for all. N matrices
[O, I], of which a rank may hold fewer rows.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from openankh.pretraining.sharding import Exchange, HeldParameter

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
        parameters: Mapping[str, HeldParameter],
        learning_rate: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        num_newton_schulz: int = 5,
    ):
        assert all(len(p.shape) == 2 for p in parameters.values()), "Muon updates matrices alone"
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.num_newton_schulz = num_newton_schulz
        self.stacks = [
            _Stack({name: parameters[name] for name in names}, turn) for turn, names in enumerate(_batches(parameters))
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The live state: what `step` reads and writes beside the parameters."""
        return {
            f"{name}/momentum": matrix.whole(momentum_OI)
            for stack in self.stacks
            for (name, matrix), momentum_OI in zip(stack.matrices.items(), stack.momentum_NOI, strict=True)
        }

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update every matrix from its gradient, at `factor` times the learning rate."""
        rate = self.learning_rate * factor
        for stack in self.stacks:
            gradient_NOI = stack.gradients()
            stack.momentum_NOI.lerp_(gradient_NOI, 1 - self.momentum)
            ahead_NOI = gradient_NOI.lerp_(stack.momentum_NOI, self.momentum)
            update_NOI = stack.orthogonalise(ahead_NOI, self.num_newton_schulz).to(ahead_NOI.dtype)
            for matrix, update_OI in zip(stack.matrices.values(), update_NOI, strict=True):
                if self.weight_decay:
                    matrix.held.mul_(1 - rate * self.weight_decay)
                matrix.held.add_(update_OI, alpha=-rate * stack.scale)


class _Stack:
    """Equal-shaped matrices that are updated together, and their momentum as one tensor."""

    def __init__(self, matrices: dict[str, HeldParameter], turn: int):
        self.matrices = matrices
        first = next(iter(matrices.values()))
        self.scale = max(1.0, first.shape[0] / first.shape[1]) ** 0.5
        self.momentum_NOI = torch.zeros_like(torch.stack([matrix.held.detach() for matrix in matrices.values()]))
        self._exchange = Exchange(first.rows, len(matrices), turn) if first.rows else None

    def gradients(self) -> Tensor:
        """A fresh tensor [matrices, out, in]."""
        gradients = []
        for name, matrix in self.matrices.items():
            assert matrix.held.grad is not None, f"{name} has no gradient"
            gradients.append(matrix.held.grad)
        return torch.stack(gradients)

    def orthogonalise(self, matrices_NOI: Tensor, num_steps: int) -> Tensor:
        """`orthogonalise` of whole matrices; what is exchanged is rounded to bfloat16 as it would be anyway."""
        if self._exchange is None:
            return orthogonalise(matrices_NOI, num_steps)
        own_NOI = self._exchange.bring(matrices_NOI.bfloat16())
        return self._exchange.give_back(orthogonalise(own_NOI, num_steps))


def _batches(parameters: Mapping[str, HeldParameter]) -> Iterator[list[str]]:
    """Names of equal-shaped matrices, as many together as a batch of each rank holds."""
    by_shape: dict[tuple[torch.Size, torch.device, int], list[str]] = defaultdict(list)
    for name, parameter in parameters.items():
        num_ranks = parameter.rows.mesh.size() if parameter.rows else 1
        by_shape[parameter.shape, parameter.held.device, num_ranks].append(name)
    for (shape, device, num_ranks), names in by_shape.items():
        size = num_ranks * max(1, NUMBERS_A_BATCH.get(device.type, 2**20) // shape.numel())
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
