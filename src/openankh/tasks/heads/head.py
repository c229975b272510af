"""A head by its name and the unit it predicts for: a body over rows, then what turns rows into outputs.

B proteins, L residues, D width, C outputs.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from openankh.errors import UserError
from openankh.tasks.heads.convbert import ConvBertConfig, ConvBertLayer
from openankh.tasks.heads.light_attention import LightAttention
from openankh.tasks.heads.map_output import MapOutput
from openankh.tasks.heads.padded import max_pool, mean_pool
from openankh.tasks.heads.pair_output import PairOutput
from openankh.tasks.task import Unit

HeadName = Literal["linear", "mlp", "convbert", "light-attention", "attention"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
HeadPool = Literal["mean", "max"]
WEIGHT_RANGE = 0.1


@dataclass(frozen=True)
class HeadConfig:
    """All that a head's shape depends on, so that it can be built again.

    `width` is the encoder's, of head attention the number of its maps. `pool` makes one row of a protein's (None: max
    after ConvBERT as published, else mean). `hidden` and `dropout` are those of an MLP. `start` is the outputs' first
    bias: for a number the training mean.
    """

    name: HeadName
    unit: Unit
    width: int
    num_outputs: int
    pool: HeadPool | None = None
    hidden: int = 256
    dropout: float = 0.2
    convbert: ConvBertConfig = field(default_factory=ConvBertConfig)
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in HEADS:
            raise UserError(f"head {self.name!r}: not one of {', '.join(HEADS)}")
        if self.name == "light-attention" and self.unit != "protein":
            raise UserError(f"head light-attention: is for whole proteins, not for each {self.unit}; use convbert")
        if self.name == "attention" and self.unit != "pair":
            raise UserError(f"head attention: is for contacts, not for each {self.unit}; use linear, mlp or convbert")
        if self.pool is None:
            object.__setattr__(self, "pool", "max" if self.name == "convbert" else "mean")


class Mlp(nn.Module):
    """One hidden layer over each row, (B, L, D) to (B, L, hidden)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        return self.dropout(torch.nn.functional.gelu(self.hidden(x_BLD)))


class Head(nn.Module):
    """Outputs of each residue (B, L, C), of each protein (B, C), or of each pair of residues (B, L, L).

    Padding, whatever it holds, and the other proteins of a batch have no part in what is said of a protein.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.body, width = _body(config)
        if config.unit == "pair":
            self.output = MapOutput(width) if config.name == "attention" else PairOutput(width)
        else:
            self.output = _output(width, config)

    def forward(self, x_BLD: Tensor, is_real_BL: Tensor) -> Tensor:
        """`is_real_BL` is True for residues, False for padding."""
        if self.body is not None:
            x_BLD = self.body(x_BLD, is_real_BL)
        if self.config.unit == "pair":
            return self.output(x_BLD, is_real_BL)
        if self.config.unit == "protein":
            x_BLD = (max_pool if self.config.pool == "max" else mean_pool)(x_BLD, is_real_BL)
        return self.output(x_BLD)


def make_head(config: HeadConfig, seed: int = 0) -> nn.Module:
    """A head with new weights, the same for the same seed; nobody else's randomness is touched.

    Called with rows (B, L, D) and which residues are real (B, L). Outputs as of `Head`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.name == "light-attention":
            head = LightAttention(config.width, config.num_outputs)
            nn.init.constant_(head.output.bias, config.start)
            return head
        return Head(config)


def with_start(config: HeadConfig, mean: float) -> HeadConfig:
    """The same head, its outputs beginning at the mean of the training numbers."""
    return replace(config, start=mean)


def _body(config: HeadConfig) -> tuple[nn.Module | None, int]:
    """What runs over the rows, if anything, and how wide they then are."""
    if config.name == "convbert":
        return ConvBertLayer(config.width, config.convbert), config.width
    if config.name == "mlp":
        return Mlp(config.width, config.hidden, config.dropout), config.hidden
    return None, config.width


def _output(width: int, config: HeadConfig) -> nn.Linear:
    linear = nn.Linear(width, config.num_outputs)
    nn.init.uniform_(linear.weight, -WEIGHT_RANGE, WEIGHT_RANGE)
    nn.init.constant_(linear.bias, config.start)
    return linear
