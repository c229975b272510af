"""Embedding in fp16 with a model whose activations overflow in it: nothing that is no number is ever written.

A T5's sum of the layers passes 65,504 at some residues of about half of the proteins, since `wo` of one layer is made
large; the final norm brings it back. Those proteins are computed again in fp32.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.vocab import AMINO_ACIDS, ankh_vocab

SHAPE = ModelConfig(144, 64, 192, 16, 4, 3, 0)
LOUD_LAYER = 1
LARGEST_FP16 = 65_504.0
REPAIRED_LIMIT, FP16_LIMIT = 4e-4, 4e-3
"""Relative L2 to fp32: of rounding to fp16 once, and of computing in it."""


@dataclass(frozen=True)
class Found:
    """What came of all proteins."""

    num_proteins: int
    num_residues: int
    num_overflowed: int
    num_not_finite: int
    worst_repaired: float
    worst_other: float

    @property
    def holds(self) -> bool:
        """Whether every number was one, and as near to fp32 as it can be."""
        some_did = 0 < self.num_overflowed < self.num_proteins
        is_near = self.worst_repaired <= REPAIRED_LIMIT and self.worst_other <= FP16_LIMIT
        return some_did and not self.num_not_finite and is_near

    def __str__(self) -> str:
        return (
            f"{self.num_proteins:,} random proteins ({self.num_residues:,} residues), precision fp16, written as fp16: "
            f"{self.num_overflowed:,} overflowed and were computed again in fp32; numbers that are infinite or none: "
            f"{self.num_not_finite}; relative L2 to fp32 at most {self.worst_repaired:.1e} of those computed again "
            f"(limit {REPAIRED_LIMIT:.0e}, one rounding), {self.worst_other:.1e} of the others (limit "
            f"{FP16_LIMIT:.0e}, fp16 arithmetic): {'holds' if self.holds else '**exceeded**'}"
        )


def draw_proteins(count: int, longest: int = 40) -> Iterator[Record]:
    """Random proteins of random lengths, each of a composition of its own."""
    source = random.Random(0)
    for number in range(count):
        weights = [source.random() ** 2 for _ in AMINO_ACIDS]
        residues = source.choices(AMINO_ACIDS, weights, k=source.randint(1, longest))
        yield Record(f"random{number}", "", "".join(residues), number)


@torch.no_grad()
def overflowing_model(sample: list[Record]) -> Ankh:
    """A model scaled so that the sum of the layers passes fp16's range in half of the sample."""
    model = Ankh(SHAPE).eval()
    initialise(model, ankh_vocab(), "published", seed=0)
    loud = model.encoder.blocks[LOUD_LAYER - 1].feed_forward.DenseReluDense.wo
    for _ in range(3):  # what is reached is nearly linear in the scale, not quite
        reached = [float(np.abs(rows).max()) for rows in _rows(model, sample, LOUD_LAYER)]
        loud.weight.mul_(LARGEST_FP16 / float(np.median(reached)))
    return model


def _rows(model: Ankh, records: list[Record], layer: int = -1) -> list[np.ndarray]:
    embedder = Embedder(model, ankh_vocab(), EmbedOptions(pool="residues", layer=layer))
    return [rows for _, rows in embedder.embed(records)]


def campaign(num_proteins: int) -> Found:
    """Embed them in fp16 and in fp32, and compare protein by protein."""
    records = list(draw_proteins(num_proteins))
    model = overflowing_model(records[:200])
    options = EmbedOptions(pool="residues", precision="fp16", dtype="fp16")
    exact = Embedder(model, ankh_vocab(), EmbedOptions(pool="residues"))
    guarded = Embedder(model, ankh_vocab(), options)
    num_not_finite, worst = 0, {True: 0.0, False: 0.0}
    for (record, truth), (_, rows) in zip(exact.embed(records), guarded.embed(records), strict=True):
        assert rows.dtype == np.float16 and rows.shape == (len(record.sequence), SHAPE.d_model)
        num_not_finite += int((~np.isfinite(rows)).sum())
        distance = float(np.linalg.norm(rows - truth) / np.linalg.norm(truth))
        was_repaired = np.array_equal(rows, truth.astype(np.float16))
        worst[was_repaired] = max(worst[was_repaired], distance)
    num_residues = sum(len(record.sequence) for record in records)
    return Found(num_proteins, num_residues, guarded.num_overflowed, num_not_finite, worst[True], worst[False])


if __name__ == "__main__":
    print(campaign(10_000))
