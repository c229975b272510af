"""The model over a stream of proteins: records in, (record, array) pairs out, in the same order, in constant memory.

A protein of L residues gives exactly L rows: those of its prefix and of `</s>` are taken out before anything else is
done. T packed tokens, N residues among them, D model width.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.attention import Documents
from openankh.embedding.batches import packed_tokens, token_batches
from openankh.embedding.memory import is_out_of_memory, release_memory
from openankh.embedding.options import EmbedOptions
from openankh.embedding.pooling import pooled
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.precision import Precision
from openankh.store import Dtype, Pool
from openankh.vocab import Vocab

Pair = tuple[Record, NDArray[np.floating]]

CPU_TOKENS, GPU_TOKENS = 4096, 65_536
_TORCH_TYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Embedder:
    """Embeds proteins with one model and one set of options; raises UserError for options the model cannot serve.

    `layer` and `prefix` are what the options mean for this model; `max_tokens` shrinks when memory runs out. `encoder`
    is what runs, for callers who keep `for_inference(model)`; where it is not given it is made here.
    """

    def __init__(
        self, model: Ankh, vocab: Vocab, options: EmbedOptions | None = None, encoder: Encoder | None = None
    ) -> None:
        options = options or EmbedOptions()
        self.model = model
        self.encoder = encoder or for_inference(model)
        self.vocab = vocab
        self.pool: Pool = options.pool
        self.layer = options.layer_of(model.config.num_encoder_layers)
        self.prefix = options.prefix_of(vocab)
        self.precision: Precision = _type_of(model)
        self.dtype: Dtype = options.dtype or _type_of(model)
        self.device = model.shared.weight.device
        self.max_tokens = options.max_tokens or (CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS)
        self._prefix_id = vocab.prefix_id(self.prefix) if self.prefix else None
        self._num_added = 2 if self.prefix else 1

    def embed(self, records: Iterable[Record]) -> Iterator[Pair]:
        """(record, array) for every record, in order; arrays as of `batches`."""
        for batch in self.batches(records):
            yield from batch

    def batches(self, records: Iterable[Record]) -> Iterator[list[Pair]]:
        """The same, a batch of consecutive records at a time: how they are cut is a function of the records alone.

        Arrays are (L, D) for pool `residues`, else (D,), of float32 (fp32, and bf16 widened) or float16. Raises
        UserError for a letter that the vocabulary lacks, and for a protein too large for the memory even alone.
        """
        for batch in token_batches(records, lambda: self.max_tokens, self._num_added):
            yield from self._embedded(batch)

    def _embedded(self, batch: tuple[Record, ...]) -> Iterator[list[Pair]]:
        """Embed a batch; where memory does not suffice, its parts under half the budget, which stays halved."""
        arrays = self._arrays_or_none(batch)
        if arrays is not None:
            yield list(zip(batch, arrays, strict=True))
            return
        release_memory()
        num_tokens = sum(len(record.sequence) + self._num_added for record in batch)
        if len(batch) == 1:
            raise UserError(
                f"record {batch[0].id!r} ({len(batch[0].sequence):,} residues) does not fit in the memory of "
                f"{self.device}; leave it out, or use a machine or device with more"
            )
        self.max_tokens = max(min(self.max_tokens, num_tokens) // 2, 1)
        for part in token_batches(batch, lambda: self.max_tokens, self._num_added):
            yield from self._embedded(part)

    def _arrays_or_none(self, batch: Sequence[Record]) -> list[NDArray[np.floating]] | None:
        """The arrays of a batch, None when memory ran out; nothing of the failed attempt is held on return."""
        try:
            return self._arrays(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    @torch.inference_mode()
    def _arrays(self, batch: Sequence[Record]) -> list[NDArray[np.floating]]:
        tokens, places, offsets = packed_tokens(batch, self.vocab, self._prefix_id)
        states_TD = self._states(torch.from_numpy(tokens), Documents(tuple(offsets.tolist())))
        rows_ND = states_TD[torch.from_numpy(places).to(self.device)]
        lengths = [len(record.sequence) for record in batch]
        values = pooled(rows_ND, lengths, self.pool).to(_TORCH_TYPES[self.dtype]).cpu()
        self._require_finite(values, batch)
        numbers = values.numpy() if self.dtype != "bf16" else values.float().numpy()
        if self.pool != "residues":
            return list(numbers)
        return np.split(numbers, np.cumsum(lengths)[:-1])

    def _states(self, tokens_T: Tensor, documents: Documents) -> Tensor:
        is_last = self.layer == self.model.config.num_encoder_layers
        output = self.encoder.encode(tokens_T.to(self.device), documents, () if is_last else (self.layer,))
        return output.last_TD if is_last else output.states[self.layer]

    def _require_finite(self, values: Tensor, batch: Sequence[Record]) -> None:
        """Refuse infinite and undefined numbers: they come from damaged weights or from fp16's small range."""
        if torch.isfinite(values).all():
            return
        remedy = "use fp32 or bf16" if self.dtype == "fp16" else "check the model with openankh info"
        shown = batch[0].id if len(batch) == 1 else f"{batch[0].id} to {batch[-1].id}"
        raise UserError(f"records {shown}: the model's numbers are not finite in {self.dtype}; {remedy}")


def _type_of(model: Ankh) -> Literal["fp32", "bf16"]:
    return "bf16" if model.shared.weight.dtype == torch.bfloat16 else "fp32"
