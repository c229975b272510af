"""How well a model predicts hidden residues of proteins it was not trained on."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.model import Ankh
from openankh.objectives import Objective
from openankh.packing import Batches, PackingSettings, Proteins
from openankh.pretraining.objective_loss import TargetWeights, batch_loss

EVALUATION_SEED = 1


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihoods in nats: of all target tokens, and of the hidden residues alone."""

    loss: float
    residue_loss: float
    num_tokens: int
    num_residues: int

    @property
    def perplexity(self) -> float:
        """Of the hidden residues: 20 knows nothing, the unigram's is about 18, 1 is perfect."""
        return math.exp(min(self.residue_loss, 700.0))


@dataclass(frozen=True)
class InFileOrder:
    """Serves the proteins of a corpus as they lie."""

    num: int

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions % self.num


@torch.no_grad()
def evaluate(
    model: Ankh,
    corpus: Proteins,
    objective: Objective,
    dtype: torch.dtype = torch.float32,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    crop: int = 512,
    max_tokens: int | None = None,
) -> Evaluation:
    """Hide residues of each protein once, always the same ones, and let the model predict them.

    Proteins beyond `crop` residues are cropped at one place; `max_tokens` ends early, after so many encoder tokens.
    """
    order = InFileOrder(len(corpus.lengths))
    batches = Batches(corpus, order, objective, PackingSettings(max(8192, crop + 2), crop), EVALUATION_SEED)
    total = residues = 0.0
    num_tokens = num_residues = num_read = position = 0
    while position < order.num and (max_tokens is None or num_read < max_tokens):
        batch = batches.at(position, end=order.num)
        sums = batch_loss(model, batch, corpus.vocab, TargetWeights(), dtype, device)
        total, residues = total + float(sums.total), residues + float(sums.residues)
        num_tokens, num_residues = num_tokens + sums.num_tokens, num_residues + sums.num_residues
        num_read, position = num_read + len(batch.inputs.ids), batch.next_position
    return Evaluation(total / num_tokens, residues / max(num_residues, 1), num_tokens, num_residues)


def unigram_perplexity(train: NDArray[np.integer], valid: NDArray[np.integer], vocab_size: int) -> float:
    """Perplexity of `valid` residues under the residue frequencies of `train` (one added to each count)."""
    counts = np.bincount(train, minlength=vocab_size)[:vocab_size] + (np.bincount(valid, minlength=vocab_size) > 0)
    observed = np.bincount(valid, minlength=vocab_size)
    seen = observed > 0
    log_share = np.log(counts[seen] / counts.sum())
    return float(np.exp(-(observed[seen] * log_share).sum() / observed.sum()))
