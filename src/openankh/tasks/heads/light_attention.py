"""Light attention (Staerk et al., 2021): convolved rows averaged with learned weights, beside their maximum.

B proteins, L residues, D width.
"""

from torch import Tensor, cat, nn
from torch.nn.functional import batch_norm, relu

from openankh.tasks.heads.padded import max_pool, zero_padding

KERNEL, HIDDEN, DROPOUT = 9, 32, 0.25


class LightAttention(nn.Module):
    """Outputs of whole proteins (B, C); softmax and maximum are over real residues alone, beyond which are zeros."""

    def __init__(self, width: int, num_outputs: int) -> None:
        super().__init__()
        self.values = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.weights = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.hidden = nn.Linear(2 * width, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.output = nn.Linear(HIDDEN, num_outputs)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        x_BDL = zero_padding(x_BLD, is_real_BL).transpose(1, 2)
        values_BLD = self.dropout(self.values(x_BDL)).transpose(1, 2)
        scores_BLD = self.weights(x_BDL).transpose(1, 2).masked_fill(~is_real_BL[..., None], float("-inf"))
        attended_BD = (values_BLD * scores_BLD.softmax(dim=1)).sum(dim=1)
        pooled_B2D = cat([attended_BD, max_pool(values_BLD, is_real_BL)], dim=-1)
        return self.output(self._normal(relu(self.dropout(self.hidden(pooled_B2D)))))

    def _normal(self, x_BH: Tensor) -> Tensor:
        """Normalised over the batch in training; a protein alone has no spread and takes what was seen so far."""
        if not self.training or len(x_BH) > 1:
            return self.norm(x_BH)
        mean, variance = self.norm.running_mean, self.norm.running_var
        return batch_norm(x_BH, mean, variance, self.norm.weight, self.norm.bias, eps=self.norm.eps)
