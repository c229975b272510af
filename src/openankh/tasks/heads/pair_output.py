"""Contacts from pairs of rows: a linear layer on [h_i * h_j ; h_i - h_j], symmetrised (Ankh, 2023; after TAPE).

B proteins, L residues, D width.
"""

import torch
from torch import Tensor, nn


class PairOutput(nn.Module):
    """How much more likely each pair is a contact than none, as a logit (B, L, L), the same from either side.

    Products of the published linear layer's two outputs with the features are formed without ever writing the features
    out, which would take 2 D numbers a pair.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, 2)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        """What stands at pairs of padding means nothing."""
        logits_BLL2 = self.two_logits(x_BLD)
        return logits_BLL2[..., 1] - logits_BLL2[..., 0]

    def two_logits(self, x_BLD: Tensor) -> Tensor:
        """The logits of no contact and contact (B, L, L, 2)."""
        products_2D, differences_2D = self.linear.weight.chunk(2, dim=1)
        product_BLL2 = torch.stack([(x_BLD * weight_D) @ x_BLD.transpose(1, 2) for weight_D in products_2D], dim=-1)
        own_BL2 = x_BLD @ differences_2D.T
        logits_BLL2 = product_BLL2 + own_BL2[:, :, None] - own_BL2[:, None] + self.linear.bias
        return (logits_BLL2 + logits_BLL2.transpose(1, 2)) / 2
