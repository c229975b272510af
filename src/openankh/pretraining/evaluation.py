"""How well a model predicts hidden residues of proteins it was not trained on."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from openankh.model import Ankh
from openankh.objectives import Examples, Objective
from openankh.packed import Packed
from openankh.packing import Proteins, shift_right
from openankh.pretraining.objective_loss import LossSums, TargetWeights, batch_loss
from openankh.pretraining.pairs import PackedPairs, Pairs
from openankh.pretraining.ranks import ALONE, Ranks

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


@torch.no_grad()
def evaluate(
    model: Ankh,
    corpus: Proteins,
    objective: Objective,
    dtype: torch.dtype = torch.float32,
    device: torch.device = torch.device("cpu"),  # noqa: B008
    crop: int = 512,
    max_tokens: int | None = None,
    batch_tokens: int = 8192,
    before_batch: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    loss: Callable[[Pairs], LossSums] | None = None,
) -> Evaluation:
    """Hide residues of each protein once, always the same ones, and let the model predict them.

    What is hidden, and where a protein beyond `crop` residues is cropped, depends on its number in the corpus alone,
    so `batch_tokens`, which bounds the encoder tokens worked on at once, changes speed and memory but not the result.
    `max_tokens` ends early: no protein follows the one that reaches so many encoder tokens. What `before_batch` raises
    gives the evaluation up. Several `ranks` share the proteins, and each is told the result of all. `loss` runs the
    model where `batch_loss` cannot, on all ranks equally often.
    """
    total = residues = 0.0
    num_tokens = num_residues = 0
    examples = _examples(corpus, objective, crop, max_tokens)
    own = list(_batches(examples[ranks.rank :: ranks.size], batch_tokens))
    for number in range(int(ranks.largest(len(own)))):
        before_batch()
        # Whoever has no batch left takes part in the others' last ones with a small one that is not counted.
        batch = own[number] if number < len(own) else _joined(examples[:1])
        sums = loss(batch) if loss else batch_loss(model, batch, corpus.vocab, TargetWeights(), dtype, device)
        if number >= len(own):
            continue
        total, residues = total + float(sums.total), residues + float(sums.residues)
        num_tokens, num_residues = num_tokens + sums.num_tokens, num_residues + sums.num_residues
    total, residues, num_tokens, num_residues = ranks.sums([total, residues, num_tokens, num_residues])
    return Evaluation(total / num_tokens, residues / max(num_residues, 1), int(num_tokens), int(num_residues))


def _examples(corpus: Proteins, objective: Objective, crop: int, max_tokens: int | None) -> list[Examples]:
    """One protein's inputs and targets each, shortest inputs first: attention takes equals together."""
    examples: list[Examples] = []
    num_read = 0
    for number in range(len(corpus.lengths)):
        if max_tokens is not None and num_read >= max_tokens:
            break
        rng = np.random.Generator(np.random.Philox(key=np.array([EVALUATION_SEED, number], np.uint64)))
        ids, _ = corpus.gather(np.array([number]))
        start = int(rng.integers(0, max(len(ids) - crop, 0) + 1))
        examples.append(objective.examples(Packed.join([ids[start : start + crop]]), corpus.vocab, rng))
        num_read += len(examples[-1].inputs.ids)
    return sorted(examples, key=lambda example: len(example.inputs.ids))


def _batches(examples: list[Examples], max_tokens: int) -> Iterator[PackedPairs]:
    """As many examples together as `max_tokens` encoder tokens hold, at least one."""
    batch: list[Examples] = []
    num_tokens = 0
    for example in examples:
        if batch and num_tokens + len(example.inputs.ids) > max_tokens:
            yield _joined(batch)
            batch, num_tokens = [], 0
        batch.append(example)
        num_tokens += len(example.inputs.ids)
    if batch:
        yield _joined(batch)


def _joined(examples: list[Examples]) -> PackedPairs:
    targets = Packed.join([example.targets.ids for example in examples])
    return PackedPairs(Packed.join([example.inputs.ids for example in examples]), shift_right(targets), targets)
