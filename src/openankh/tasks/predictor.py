"""A head with what stands around it: its rows brought to one scale, its outputs in the units of the targets.

B proteins, L residues, D width.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openankh.store import Pool
from openankh.tasks.heads.head import HeadConfig, make_head
from openankh.tasks.target_space import Numbers, TargetSpace


class Predictor(nn.Module):
    """Outputs as of `Head`; a number comes in the unit of the training numbers."""

    mean_D: Tensor
    scale_D: Tensor

    def __init__(self, config: HeadConfig, space: TargetSpace, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.space = space
        self.head = make_head(config, seed)
        self.register_buffer("mean_D", torch.zeros(config.width))
        self.register_buffer("scale_D", torch.ones(config.width))

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        """`is_real_BL` is True for residues, False for padding."""
        outputs = self.head((x_BLD - self.mean_D) / self.scale_D, is_real_BL)
        if isinstance(self.space, Numbers):
            return outputs * self.space.deviation + self.space.mean
        return outputs

    @torch.no_grad()
    def outputs(self, rows_LD: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it says of one protein alone: (C,) of the protein, (L, C) of its residues, (L, L) of their pairs."""
        assert not self.training, "call eval() first"
        x_1LD = torch.from_numpy(np.ascontiguousarray(rows_LD)).to(self.mean_D.device)[None]
        is_real_1L = torch.ones(x_1LD.shape[:2], dtype=torch.bool, device=x_1LD.device)
        return self(x_1LD, is_real_1L)[0].cpu().numpy()

    @torch.no_grad()
    def round_to_half(self) -> None:
        """Round all weights to numbers that fp16 holds, so that they can be kept in half the room."""
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())

    def weights(self) -> dict[str, Tensor]:
        """All floating-point tensors by name, on the CPU: all that predictions depend on."""
        state = self.state_dict()
        return {name: each.cpu().contiguous() for name, each in state.items() if each.is_floating_point()}


def row_pool(config: HeadConfig) -> Pool:
    """What a head needs of the encoder: `residues`, or where it pools at once anyway the one pooled row."""
    assert config.pool is not None
    return config.pool if config.unit == "protein" and config.name == "linear" else "residues"
