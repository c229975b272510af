"""The ConvBERT layer of the Ankh paper's heads: attention beside a convolution whose kernel each residue makes itself.

After Jiang et al. (2020): of `num_heads`, head_ratio 2 leaves half as attention heads, and as many are convolutional.
Outside a protein are zeros, wherever it lies in a batch: padding and company change nothing.

B proteins, L residues, D width, A width of all attention heads (D / 2), H attention heads, K head width, W kernel
width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from openankh.errors import UserError
from openankh.tasks.heads.padded import zero_padding


@dataclass(frozen=True)
class ConvBertConfig:
    """The shape of the layer; defaults are the published ones. `inner` is its feed-forward width, None half of D."""

    num_heads: int = 4
    head_ratio: int = 2
    kernel: int = 7
    inner: int | None = None
    dropout: float = 0.2
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        assert self.kernel % 2 == 1, f"a kernel of {self.kernel} has no middle"

    @property
    def num_attention_heads(self) -> int:
        """Heads that attend; as many convolve."""
        return max(self.num_heads // self.head_ratio, 1)


class MixedAttention(nn.Module):
    """Attention and span-based dynamic convolution of the same queries, side by side, (B, L, D)."""

    def __init__(self, width: int, config: ConvBertConfig) -> None:
        super().__init__()
        self.num_heads, self.kernel_width = config.num_attention_heads, config.kernel
        if width % (2 * self.num_heads):
            raise UserError(f"ConvBERT: a width of {width} cannot be divided among {2 * self.num_heads} heads")
        inner = width // 2
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.depthwise = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width, bias=False)
        self.pointwise = nn.Conv1d(width, inner, 1)
        self.make_kernel = nn.Linear(inner, self.num_heads * config.kernel)
        self.convolved = nn.Linear(width, inner)
        self.dropout = nn.Dropout(config.attention_dropout)
        for convolution in (self.depthwise, self.pointwise):
            nn.init.normal_(convolution.weight, std=0.02)
        assert self.pointwise.bias is not None
        nn.init.zeros_(self.pointwise.bias)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        """`x_BLD` has zeros where there is no residue."""
        q_BLA = self.query(x_BLD)
        attended_BLHK = self._attended(q_BLA, x_BLD, is_real_BL)
        return torch.cat([attended_BLHK, self._convolved(q_BLA, x_BLD, is_real_BL)], dim=2).flatten(2)

    def _split(self, x_BLA: Tensor) -> Tensor:
        return x_BLA.unflatten(-1, (self.num_heads, -1))

    def _attended(self, q_BLA: Tensor, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        q, k, v = (self._split(part).transpose(1, 2) for part in (q_BLA, self.key(x_BLD), self.value(x_BLD)))
        scores_BHLL = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        scores_BHLL = scores_BHLL.masked_fill(~is_real_BL[:, None, None], float("-inf"))
        return (self.dropout(scores_BHLL.softmax(dim=-1)) @ v).transpose(1, 2)

    def _convolved(self, q_BLA: Tensor, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        """Each residue's neighbourhood, weighted by what its own and its query make of it."""
        local_BLA = self.pointwise(self.depthwise(x_BLD.transpose(1, 2))).transpose(1, 2)
        kernel_BLHW = self._split(self.make_kernel(local_BLA * q_BLA)).softmax(dim=-1)
        values_BLA = zero_padding(self.convolved(x_BLD), is_real_BL)
        side = self.kernel_width // 2
        around_BLAW = pad(values_BLA, (0, 0, side, side)).unfold(1, self.kernel_width, 1)
        around_BLHKW = around_BLAW.unflatten(2, (self.num_heads, -1))
        return torch.einsum("blhkw,blhw->blhk", around_BLHKW, kernel_BLHW)


class ConvBertLayer(nn.Module):
    """Mixed attention and a feed-forward, each added to its input and normalised, (B, L, D)."""

    def __init__(self, width: int, config: ConvBertConfig | None = None) -> None:
        super().__init__()
        config = config or ConvBertConfig()
        inner = config.inner or width // 2
        self.attention = MixedAttention(width, config)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        x_BLD = zero_padding(x_BLD, is_real_BL)
        mixed_BLD = self.attention_out(self.attention(x_BLD, is_real_BL))
        x_BLD = self.attention_norm(self.dropout(mixed_BLD) + x_BLD)
        return self.norm(self.dropout(self.down(gelu(self.up(x_BLD)))) + x_BLD)
