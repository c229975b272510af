"""How likely a model finds a variant's changed end, or its changed residues, beside those of the wild type.

Models with `[S2S]` read what stands before the change, at most half of the wild type, and the decoder writes the rest:
log P(rest of the variant) - log P(rest of the wild type), residues inserted or missing included. The others read the
protein with all changed residues hidden at once and the decoder writes these: log P(new residues) - log P(old ones),
each one seen by the next; how many there are is what such a model is told, so the length cannot change.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.generation.likelihood import Question, target_log_probs
from openankh.generation.reader import Reader
from openankh.scoring.variant import Variant, common_ends
from openankh.scoring.window import Window
from openankh.vocab import EOS, Vocab

_TOGETHER = 256
"""Variants whose questions are asked together."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """The same question about a variant and about the wild type; `counted` picks the tokens that are compared."""

    variant: Question
    wild_type: Question
    counted: slice


class CompletionLikelihood:
    """Compares variants with one wild type; equal questions are asked once."""

    def __init__(self, reader: Reader, vocab: Vocab, window: Window, wild_type: str) -> None:
        self._reader, self._vocab, self._window, self._wild_type = reader, vocab, window, wild_type
        self.task = "s2s" if vocab.has_prefix("[S2S]") else "sentinels"
        if self.task == "sentinels" and not vocab.num_sentinels:
            raise UserError("the model's vocabulary has no sentinels, and no [S2S]: it writes nothing to compare")
        self._known: dict[bytes, float] = {}

    def scores(self, variants: Iterable[Variant]) -> Iterator[float]:
        """Differences of natural log-probabilities, in order; UserError for a variant that cannot be compared."""
        queue = iter(variants)
        while batch := list(islice(queue, _TOGETHER)):
            yield from self._scores(batch)

    def _scores(self, batch: list[Variant]) -> Iterator[float]:
        pairs = [None if variant.sequence == self._wild_type else self._pair(variant) for variant in batch]
        asked = {_key(pair.wild_type): (pair.wild_type, pair.counted) for pair in pairs if pair}
        new = {key: each for key, each in asked.items() if key not in self._known}
        self._known |= dict(zip(new, self._sums(new.values()), strict=True))
        sums = self._sums((pair.variant, pair.counted) for pair in pairs if pair)
        for pair in pairs:
            yield 0.0 if pair is None else next(sums) - self._known[_key(pair.wild_type)]

    def _sums(self, asked: Iterable[tuple[Question, slice]]) -> Iterator[float]:
        several = list(asked)
        answers = target_log_probs(self._reader, (question for question, _ in several))
        for (_, counted), log_probs_T in zip(several, answers, strict=True):
            yield float(log_probs_T[counted].astype(np.float64).sum())

    def _pair(self, variant: Variant) -> _Pair:
        return self._continuations(variant) if self.task == "s2s" else self._fillings(variant)

    def _continuations(self, variant: Variant) -> _Pair:
        """Both proteins cut in the same place.

        Of a long one half a window before the cut is read and half a window behind it written; behind the change at
        least a quarter of a window, so that what was changed is also judged by what follows.
        """
        wild_type, most = self._wild_type, self._window.most
        front, back = common_ends(variant.sequence, wild_type)
        cut = min(front, len(wild_type) // 2)
        if len(wild_type) > most:
            cut = max(cut, front - most // 4)
        first = max(0, cut - most // 2)
        changed = max(len(variant.sequence), len(wild_type)) - back - cut
        tail = back if len(wild_type) <= most else min(back, max(most // 4, most // 2 - changed))
        inputs = [self._vocab.prefix_id("[S2S]"), *self._ids(wild_type[first:cut]), EOS]
        questions = []
        for sequence in (variant.sequence, wild_type):
            rest = self._ids(sequence[cut : len(sequence) - back + tail])
            questions.append(Question(np.array(inputs, np.int64), np.array([*rest, *[EOS] * (tail == back)], np.int64)))
        return _Pair(questions[0], questions[1], slice(None))

    def _fillings(self, variant: Variant) -> _Pair:
        """All changed residues hidden, each behind a sentinel of its own; only residues are compared."""
        wild_type, vocab = self._wild_type, self._vocab
        if variant.mutations is None:
            raise UserError(
                f"{variant.place}likelihood by sentinels tells the model how many residues to write, so it cannot "
                "judge insertions and deletions; use --method pseudo-log-likelihood, or a model with [S2S]"
            )
        pairs = enumerate(zip(variant.sequence, wild_type, strict=True))
        places = np.array([place for place, (new, old) in pairs if new != old])
        if len(places) > vocab.num_sentinels:
            raise UserError(f"{variant.place}{len(places)} changes, but the model has {vocab.num_sentinels} sentinels")
        window = self._window.around(int(places[0] + places[-1]) // 2, len(wild_type))
        if places[0] < window.start or places[-1] >= window.stop:
            reach = places[-1] - places[0] + 1
            raise UserError(f"{variant.place}its changes span {reach} residues; raise --window ({self._window.most})")
        shown = self._ids(wild_type)
        shown[places] = vocab.sentinel_ids[: len(places)]
        front = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
        inputs = np.concatenate([front, shown[window], [EOS]]).astype(np.int64)
        questions = [
            Question(inputs, np.stack([vocab.sentinel_ids[: len(places)], self._ids(each)[places]], 1).reshape(-1))
            for each in (variant.sequence, wild_type)
        ]
        return _Pair(questions[0], questions[1], slice(1, None, 2))

    def _ids(self, sequence: str) -> NDArray[np.int64]:
        return self._vocab.encode(sequence).astype(np.int64)


def _key(question: Question) -> bytes:
    return question.inputs.tobytes() + b"|" + question.targets.tobytes()
