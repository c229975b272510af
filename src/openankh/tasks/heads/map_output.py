"""Contacts from attention maps: one weight a map (Rao et al., 2020).

B proteins, L residues, M maps.
"""

from torch import Tensor, nn


class MapOutput(nn.Module):
    """How much more likely each pair is a contact than none, as a logit (B, L, L), of its place in all maps."""

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_maps, 1)

    def forward(self, maps_BLLM: Tensor, is_real_BL: Tensor) -> Tensor:
        """What stands at pairs of padding means nothing."""
        return self.linear(maps_BLLM).squeeze(-1)
