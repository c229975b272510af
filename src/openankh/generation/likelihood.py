"""How likely given targets are: log-probabilities of the decoder for many inputs at once.

T tokens of a target, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.attention import Documents
from openankh.generation.reader import MOST_TOKENS, Reader
from openankh.packed import Packed
from openankh.vocab import PAD


@dataclass(frozen=True, eq=False)
class Question:
    """How likely is it that the decoder, having read `inputs`, writes each of `targets` (T,)? Both are token ids."""

    inputs: NDArray[np.integer]
    targets: NDArray[np.integer]


def log_probs(reader: Reader, questions: Iterable[Question], most_tokens: int = MOST_TOKENS) -> Iterator[NDArray]:
    """Natural log-probabilities of every token at every place of each target, (T, V) in float32, in order.

    Row i is what the decoder expects after `<pad>` and the first i targets. Questions are answered in batches of so
    many tokens, each different input read once a batch.
    """
    for batch in _batches(questions, most_tokens):
        logits_TV = _forced(reader, batch)
        yield from (part.cpu().numpy() for part in logits_TV.log_softmax(-1).split([len(q.targets) for q in batch]))


def target_log_probs(
    reader: Reader, questions: Iterable[Question], most_tokens: int = MOST_TOKENS
) -> Iterator[NDArray[np.float32]]:
    """Natural log-probabilities of the targets' own tokens, (T,), in order."""
    for batch in _batches(questions, most_tokens):
        logits_TV = _forced(reader, batch)
        wanted_T1 = torch.as_tensor(Packed.join([q.targets for q in batch]).ids.astype(np.int64)).to(reader.device)[
            :, None
        ]
        chosen_T = logits_TV.log_softmax(-1).gather(1, wanted_T1)[:, 0]
        yield from (part.cpu().numpy() for part in chosen_T.split([len(q.targets) for q in batch]))


def _forced(reader: Reader, batch: list[Question]) -> torch.Tensor:
    """Logits (T, V) of all targets end to end."""
    sources = reader.read([question.inputs for question in batch])
    shifted = Packed.join([np.append(PAD, question.targets[:-1]) for question in batch])
    return reader.decoder.force(sources, shifted.ids, Documents(tuple(shifted.offsets.tolist()))).float()


def _batches(questions: Iterable[Question], most_tokens: int) -> Iterator[list[Question]]:
    """Neighbouring questions of so many tokens together at most; a longer one is alone."""
    queue, batch, num_tokens = iter(questions), list[Question](), 0
    while following := list(islice(queue, 1)):
        size = len(following[0].inputs) + len(following[0].targets)
        assert len(following[0].targets), "a target has at least one token"
        if batch and num_tokens + size > most_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch += following
        num_tokens += size
    if batch:
        yield batch
