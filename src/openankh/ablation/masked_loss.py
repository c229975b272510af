"""One measure for all objectives: the loss of the same hidden residues, each model asked in its own presentation.

Whatever the presentation, the decoder meets a hidden residue knowing all visible ones and the hidden ones before it, so
the sum over a protein's hidden residues is minus log P(hidden | visible) for every one of them. Merged spans alone tell
less: how long a run is. A model may have learnt to expect what its own mask always hides, though, such as every kind of
residue, and this mask does not. T decoder tokens, R hidden residues.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from openankh.attention import is_compiled
from openankh.model import Ankh
from openankh.objectives import Objective, SeveralRates
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Proteins, shift_right
from openankh.pretraining.evaluation import EVALUATION_SEED
from openankh.pretraining.filling import filled
from openankh.pretraining.objective_loss import documents_of, is_residue, to_tensor
from openankh.pretraining.pairs import PackedPairs

COMMON_MASK = SeveralRates((0.10, 0.15, 0.20, 0.30))
"""Single residues, at the rates that the experiments train with, equally often: none is asked at its own rate alone."""

_NUM_PROTEINS_COUNTED = 20_000


@dataclass(frozen=True)
class MaskedLoss:
    """Mean negative log-likelihood of hidden residues in nats, among the residues of the vocabulary."""

    loss: float
    num_residues: int


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A mask that is drawn already."""

    hidden: NDArray[np.bool_]

    def draw(self, residues: Packed, rng: np.random.Generator) -> NDArray[np.bool_]:
        return self.hidden


@dataclass(frozen=True, eq=False)
class _Question:
    """A protein's crop and which of its residues are hidden."""

    ids: NDArray[np.uint8]
    hidden: NDArray[np.bool_]


@torch.no_grad()
def masked_loss(
    model: Ankh,
    corpus: Proteins,
    objective: Objective,
    crop: int,
    max_tokens: int,
    batch_tokens: int = 8192,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> MaskedLoss:
    """Let a model trained with `objective` predict residues hidden by COMMON_MASK, in its own presentation.

    What is hidden, and where a protein is cropped, depends on its number in the corpus alone. Proteins are read from
    the first on until they have `max_tokens` residues together.
    """
    total, num_residues = 0.0, 0
    for batch in _batches(_questions(corpus, crop, max_tokens), batch_tokens):
        loss_R = _losses(model, batch, corpus, objective, device)
        total, num_residues = total + float(loss_R.double().sum()), num_residues + len(loss_R)
    return MaskedLoss(total / num_residues, num_residues)


def composition_loss(train: Proteins, valid: Proteins, crop: int, max_tokens: int) -> float:
    """The masked loss of the training residues' frequencies alone: what a model that has learnt nothing else gets."""
    order = Order(len(train.lengths), EVALUATION_SEED)
    ids, _ = train.gather(order.at(np.arange(min(order.num, _NUM_PROTEINS_COUNTED))))
    counts_R = np.bincount(ids, minlength=256)[valid.vocab.residue_ids] + 1.0
    loss_of_id = np.zeros(256)
    loss_of_id[valid.vocab.residue_ids] = -np.log(counts_R / counts_R.sum())
    hidden = [question.ids[question.hidden] for question in _questions(valid, crop, max_tokens)]
    return float(loss_of_id[np.concatenate(hidden)].mean())


def _questions(corpus: Proteins, crop: int, max_tokens: int) -> list[_Question]:
    """Shortest first: attention takes equals together."""
    questions: list[_Question] = []
    num_read = 0
    for number in range(len(corpus.lengths)):
        if num_read >= max_tokens:
            break
        rng = np.random.Generator(np.random.Philox(key=np.array([EVALUATION_SEED, number], np.uint64)))
        ids, _ = corpus.gather(np.array([number]))
        start = int(rng.integers(0, max(len(ids) - crop, 0) + 1))
        ids = ids[start : start + crop]
        questions.append(_Question(ids, COMMON_MASK.draw(Packed.join([ids]), rng)))
        num_read += len(ids)
    return sorted(questions, key=lambda question: len(question.ids))


def _batches(questions: list[_Question], max_tokens: int) -> Iterator[list[_Question]]:
    batch: list[_Question] = []
    for question in questions:
        if batch and sum(len(each.ids) for each in batch) + len(question.ids) > max_tokens:
            yield batch
            batch = []
        batch.append(question)
    if batch:
        yield batch


def _losses(
    model: Ankh, batch: list[_Question], corpus: Proteins, objective: Objective, device: torch.device
) -> torch.Tensor:
    """The negative log-likelihood of each hidden residue, (R,)."""
    hidden = np.concatenate([question.hidden for question in batch])
    chosen = replace(objective, mask=_Chosen(hidden))
    residues = Packed.join([question.ids for question in batch])
    examples = chosen.examples(residues, corpus.vocab, np.random.default_rng(0))
    places = _places_of_hidden(examples.targets.ids, hidden, corpus)
    true_ids = examples.targets.ids[places]
    assert (true_ids == residues.ids[hidden]).all(), "the targets do not name the hidden residues in their order"
    pairs = PackedPairs(examples.inputs, shift_right(examples.targets), examples.targets)
    if is_compiled(device):
        pairs = filled(pairs)
    sources, targets = documents_of(pairs.inputs), documents_of(pairs.targets)
    memory_SD = model.encode(to_tensor(pairs.inputs.ids, device), sources).last_TD
    logits_TV = model.decode(to_tensor(pairs.decoder_inputs.ids, device), targets, memory_SD, sources)
    letters = corpus.vocab.residue_ids
    column_of_id = np.zeros(corpus.vocab.size, np.int64)
    column_of_id[letters] = np.arange(len(letters))
    logits_RL = logits_TV[to_tensor(places, device)][:, to_tensor(letters, device)]
    return cross_entropy(logits_RL.float(), to_tensor(column_of_id[true_ids], device), reduction="none")


def _places_of_hidden(targets: NDArray[np.integer], hidden: NDArray[np.bool_], corpus: Proteins) -> NDArray[np.int64]:
    """Where the decoder's targets name the hidden residues: all their residues, or of whole proteins some."""
    places = np.flatnonzero(is_residue(targets, corpus.vocab))
    return places if len(places) == hidden.sum() else places[hidden]
