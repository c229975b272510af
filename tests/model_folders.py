"""Small models with random weights, for tests of everything that reads a model folder."""

import random
from pathlib import Path

import torch
from torch import Tensor

from openankh.attention import Documents
from openankh.config import ModelConfig
from openankh.model import Ankh
from openankh.vocab import ANKH

TINY = ModelConfig(
    vocab_size=144,
    d_model=16,
    d_ff=24,
    d_kv=4,
    num_heads=3,
    num_encoder_layers=2,
    num_decoder_layers=1,
    relative_buckets=8,
    relative_distance=16,
)
SOURCE = [*ANKH.encode("MKTAYIAKQR").tolist(), 1]
TARGET = [0, 143, *ANKH.encode("W").tolist(), 142]


def random_model(config: ModelConfig = TINY, seed: int = 0) -> Ankh:
    """A network whose weights are all drawn at random, norms included."""
    model = Ankh(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@torch.no_grad()
def logits(model: Ankh) -> Tensor:
    """Our logits of TARGET given SOURCE."""
    sources, targets = Documents((0, len(SOURCE))), Documents((0, len(TARGET)))
    memory_TD = model.encode(torch.tensor(SOURCE), sources).last_TD
    return model.decode(torch.tensor(TARGET), targets, memory_TD, sources)


def flip_a_bit(path: Path, source: random.Random) -> None:
    """Change one random bit of a file."""
    content = bytearray(path.read_bytes())
    place = source.randrange(len(content))
    content[place] ^= 1 << source.randrange(8)
    path.write_bytes(content)
