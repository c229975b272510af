"""Completions: proteins of which a beginning is kept and the rest is written.

`[S2S]` models continue a prefix to an exact length or until `</s>` (Ankh3 paper, sequence completion), and so do others
that were adapted to it; those that were not write residues behind sentinels (Ankh paper, generation).
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.fasta import Record
from openankh.generation.gaps import GAP, Filling
from openankh.generation.job import Job, Written
from openankh.generation.options import CompletionOptions
from openankh.generation.randomness import seed_of
from openankh.generation.reader import Reader
from openankh.generation.residue_rules import with_end
from openankh.generation.script import Script
from openankh.generation.stretch import Span
from openankh.generation.windows import Windows
from openankh.generation.writer import MOST_ROWS, write
from openankh.vocab import EOS, PAD, Vocab

TOGETHER = 64
"""Proteins that are filled window by window together."""


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion, number `number` of its record: the whole `sequence`, whose first `kept` residues were given.

    `log_probs` of the residues written are the model's own, before temperature, rules and the like; `score` is what
    ranks the results of a search with beams. `ended`: whether the model wrote `</s>`; an exact length never ends so.
    """

    record: Record
    number: int
    sequence: str
    kept: int
    log_probs: NDArray[np.float64]
    ended: bool
    score: float

    @property
    def written(self) -> str:
        """The residues that were written."""
        return self.sequence[self.kept :]

    @property
    def mean_log_prob(self) -> float:
        """The mean natural log-probability of a residue written."""
        return float(self.log_probs.mean()) if len(self.log_probs) else math.nan

    @property
    def perplexity(self) -> float:
        """e to the minus mean log-probability."""
        return math.exp(-self.mean_log_prob)


class Completer:
    """Completes proteins with one model and one set of options.

    Raises UserError for options that the model cannot serve.
    """

    def __init__(self, reader: Reader, vocab: Vocab, width: int, options: CompletionOptions) -> None:
        self._reader, self._vocab, self._width, self._options = reader, vocab, width, options
        self.task = _task_of(options, vocab)
        options.rules.require_known(vocab)

    @property
    def _rows(self) -> int:
        return self._options.max_rows or MOST_ROWS

    def complete(self, records: Iterable[Record]) -> Iterator[Completion]:
        """All completions of each record, in order; records are taken as they are needed."""
        if self.task != "sentinels":
            yield from self._continued(records)
            return
        queue = iter(records)
        while first := list(islice(queue, TOGETHER)):
            yield from self._filled(first)

    def _span(self, record: Record) -> Span:
        who = f"record {record.id!r}"
        if not record.sequence:
            raise UserError(f"{who}: has no residues; leave it out")
        span, rules = self._options.stretch.of(len(record.sequence), who), self._options.rules
        rules.require_fits(record.sequence[: span.kept], who)
        if rules.last_fixed > span.most:
            raise UserError(f"{who}: place {rules.last_fixed} is fixed, but the protein becomes {span.most} long")
        return Span(span.kept, max(span.least, rules.last_fixed), span.most)

    def _shown(self, record: Record, span: Span) -> NDArray[np.int64]:
        """The ids of what is kept."""
        try:
            return self._vocab.encode(record.sequence[: span.kept]).astype(np.int64)
        except UserError as error:
            raise UserError(f"record {record.id!r}: {error}") from None

    def _seed(self, record: Record, span: Span) -> int:
        return seed_of(self._options.seed, record.sequence[: span.kept].encode())

    def _continued(self, records: Iterable[Record]) -> Iterator[Completion]:
        """The encoder reads what is kept, behind `[S2S]` unless it is plain, the decoder writes the rest."""
        taken: deque[tuple[Record, Span]] = deque()
        failures: list[UserError] = []

        def jobs() -> Iterator[Job]:
            try:
                for record in records:
                    span = self._span(record)
                    job = self._continuation(record, span)
                    taken.append((record, span))
                    yield job
            except UserError as error:  # told when what stands before it is written
                failures.append(error)

        for results in write(self._reader, jobs(), self._options.method, self._rows):
            record, span = taken.popleft()
            for number, written in enumerate(results, start=1):
                yield self._completion(record, span, number, written)
        if failures:
            raise failures[0]

    def _continuation(self, record: Record, span: Span) -> Job:
        vocab, rules = self._vocab, self._options.rules
        num_written = span.most - span.kept
        masks, numbers = rules.masks(range(span.kept + 1, span.most + 1), vocab, self._width)
        if not span.is_exact:  # </s> in the place of residue i leaves i - 1 residues
            may_end = np.arange(span.kept, span.most) >= span.least
            numbers = numbers + may_end * len(masks)
            masks = np.concatenate([masks, with_end(masks)])
        script = Script(
            first=np.array([PAD]),
            tails=np.zeros((num_written, 0), np.int64),
            masks=masks,
            mask_of=numbers,
            required=rules.required_ids(vocab),
        )
        front = [vocab.prefix_id("[S2S]")] if self.task == "s2s" else []
        inputs = np.concatenate([front, self._shown(record, span), [EOS]]).astype(np.int64)
        return Job(inputs, script, self._options.num, self._seed(record, span))

    def _completion(self, record: Record, span: Span, number: int, written: Written) -> Completion:
        sequence = record.sequence[: span.kept] + self._vocab.decode(written.tokens)
        return Completion(record, number, sequence, span.kept, written.log_probs, written.ended, written.score)

    def _filled(self, records: Sequence[Record]) -> Iterator[Completion]:
        """By sentinels, window by window; what comes after the first belongs to each completion alone."""
        spans = [self._span(record) for record in records]
        options = self._options
        windows = Windows(
            self._reader, self._vocab, self._width, options.rules, options.method, options.window, self._rows
        )
        empty = [self._empty(record, span) for record, span in zip(records, spans, strict=True)]
        fillings = windows.fill(empty, options.num)
        for record, span, several in zip(records, spans, fillings, strict=True):
            for number, filling in enumerate(several, start=1):
                log_probs = filling.log_probs[span.kept :]
                sequence = record.sequence[: span.kept] + self._vocab.decode(filling.ids[span.kept :])
                yield Completion(record, number, sequence, span.kept, log_probs, False, float(log_probs.sum()))

    def _empty(self, record: Record, span: Span) -> Filling:
        ids = np.full(span.most, GAP, np.int64)
        ids[: span.kept] = self._shown(record, span)
        required = self._options.rules.required_ids(self._vocab)
        return Filling(ids, np.zeros(len(ids)), self._seed(record, span), 0, required)


def _task_of(options: CompletionOptions, vocab: Vocab) -> str:
    """How this model completes."""
    has_prefix = vocab.has_prefix("[S2S]")
    if options.task == "s2s" and not has_prefix:
        raise UserError("task s2s: the model's vocabulary has no [S2S]; it completes by sentinels")
    task = options.task if options.task != "auto" else ("s2s" if has_prefix else "sentinels")
    if task == "sentinels":
        if options.stretch.is_free:
            raise UserError("completing by sentinels writes an exact number of residues: give --length or --keep")
        if not vocab.num_sentinels:
            raise UserError("the model's vocabulary has no sentinels, and no [S2S]: it cannot complete")
    return task
