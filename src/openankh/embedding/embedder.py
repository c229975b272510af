"""The model over a stream of proteins: records in, (record, array) pairs out, in the same order, in constant memory.

A protein of L residues gives exactly L rows: those of its prefix and of `</s>` are taken out before anything else is
done. N residues of a batch, B proteins, D model width, K layers.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.embedding.budget import LOOKAHEAD, Budget, Workload, first_budget, remember
from openankh.embedding.lookahead import Lookahead, Pair
from openankh.embedding.memory import is_out_of_memory, release_memory
from openankh.embedding.options import EmbedOptions
from openankh.embedding.residue_states import ResidueStates
from openankh.embedding.reuse import Reuse
from openankh.embedding.survey import Repeats
from openankh.embedding.vectors import Vectors
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.precision import Precision
from openankh.store import RESULTS, Dtype, Pool, States
from openankh.vocab import Vocab

__all__ = ["Embedder", "Pair"]

_PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

FRUGAL_PIECE = 1024
"""Tokens that go through a feed-forward together when a protein alone did not fit otherwise."""


class Embedder:
    """Embeds proteins with one model and one set of options; raises UserError for options the model cannot serve.

    `layers`, `prefix`, `precision` and `dtype` are what the options mean for this model; `max_tokens` shrinks when
    memory runs out. `num_reused` proteins, of `num_residues_reused` residues, were not computed, since an equal
    sequence had been. `encoder` is what runs, for callers who keep `for_inference(model, precision)`; where it is not
    given it is made here.
    """

    def __init__(
        self,
        model: Ankh,
        vocab: Vocab,
        options: EmbedOptions | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        options = options or EmbedOptions()
        self.model = model
        self.vocab = vocab
        self.pool: Pool = options.pool
        self.states: States = options.states
        self.layers = options.layers_of(model.config)
        self.prefix = options.prefix_of(vocab)
        self.device = model.shared.weight.device
        loaded_in = _PRECISIONS[model.shared.weight.dtype]
        self.precision: Precision = loaded_in if options.precision == "auto" else options.precision
        self.dtype: Dtype = options.dtype or RESULTS[self.precision]
        self.encoder = encoder or for_inference(model, options.precision)
        self.num_reused = self.num_residues_reused = 0
        prefix_id = vocab.prefix_id(self.prefix) if self.prefix else None
        network = ResidueStates(model, self.encoder, vocab, self.states, self.layers, prefix_id)
        self._vectors = Vectors(network, self.pool, self.dtype, guards_fp16=self.precision == "fp16")
        self._num_added = 2 if self.prefix else 1
        dtype = model.shared.weight.dtype
        self._workload = Workload(model.config, self.device, dtype, len(self.layers), self.states == "decoder")
        self._budget = Budget(options.max_tokens) if options.max_tokens else first_budget(self._workload)
        self._is_budget_given = options.max_tokens is not None
        self._room = LOOKAHEAD * (options.max_tokens or self._workload.most_tokens)
        self._reuse = Reuse()
        self._failed_alone: Record | None = None

    @property
    def max_tokens(self) -> int:
        """Tokens of a batch, at present."""
        return self._budget.tokens

    @property
    def num_halvings(self) -> int:
        """How often memory ran out."""
        return self._budget.num_halvings

    @property
    def num_overflowed(self) -> int:
        """Proteins computed a second time, in fp32, since fp16 did not hold their numbers."""
        return self._vectors.num_overflowed

    def expect(self, repeats: Repeats | None) -> None:
        """Say which sequences of the input come more than once, so that no others are kept to be used again."""
        self._reuse = Reuse(None if repeats is None else repeats.hashes)

    def remember_budget(self) -> None:
        """Keep what was learned of the memory for later runs on this machine."""
        if not self._is_budget_given:
            remember(self._workload, self._budget)

    def embed(self, records: Iterable[Record]) -> Iterator[Pair]:
        """(record, array) for every record, in order; arrays as of `batches`."""
        for batch in self.batches(records):
            yield from batch

    def batches(self, records: Iterable[Record]) -> Iterator[list[Pair]]:
        """The same, some consecutive records at a time: whenever a batch was computed, those that are ready by then.

        Arrays are (L, D) for pool `residues`, else (D,), of K > 1 layers (K, L, D) or (K, D); of float32 (fp32, and
        bf16 widened) or float16. Raises UserError for a letter that the vocabulary lacks, for numbers that are not
        finite or do not fit fp16, and for a protein too large for the memory even alone.
        """
        ahead = Lookahead(records, self._room, self._num_added, self._reuse, self._count_reused)
        while True:
            batch = ahead.batch(self._budget.tokens)
            if batch:
                self._compute(batch, ahead)
            pairs = ahead.leave()
            if pairs:
                yield pairs
            elif not batch:
                return

    def _compute(self, batch: Sequence[Record], ahead: Lookahead) -> None:
        """Compute a batch, or halve the budget: then the records are still ahead.

        A protein that did not fit though it was alone is tried once more, in pieces; when that fails too, UserError.
        """
        piece = FRUGAL_PIECE if batch == (self._failed_alone,) else None
        arrays = self._arrays_or_none(batch, piece)
        if arrays is not None:
            self._failed_alone = None
            for record, array in zip(batch, arrays, strict=True):
                ahead.settle(record, array)
            return
        release_memory()
        self._budget.halve(sum(len(record.sequence) + self._num_added for record in batch))
        if piece is not None:
            raise UserError(
                f"record {batch[0].id!r} ({len(batch[0].sequence):,} residues) does not fit in the memory of "
                f"{self.device}; leave it out, or use a machine or device with more"
            )
        self._failed_alone = batch[0] if len(batch) == 1 else None

    def _count_reused(self, record: Record) -> None:
        self.num_reused += 1
        self.num_residues_reused += len(record.sequence)

    def _arrays_or_none(self, batch: Sequence[Record], piece: int | None) -> list[NDArray[np.floating]] | None:
        """The arrays of a batch, None when memory ran out; nothing of the failed attempt is held on return."""
        try:
            return self._vectors.of(batch, piece)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
