"""One batch through the network: the states of its residues in every layer asked for, of the encoder or the decoder.

T packed tokens, N residues among them, D model width, K layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.attention import Documents
from openankh.embedding.tokens import decoder_tokens, packed_tokens
from openankh.fasta import Record
from openankh.inference import Encoder
from openankh.model import Ankh, EncoderOutput
from openankh.store import States
from openankh.vocab import Vocab


@dataclass(frozen=True, eq=False)
class ResidueStates:
    """What runs a batch. `encoder` is that of `model`, as inference runs it; `layers` are counted from 0.

    The decoder reads `<pad>` and then the protein itself, over the encoding of that protein: the row of residue i is
    the state in which the decoder has just read residue i, knowing those before it and, through the encoder, all.
    """

    model: Ankh
    encoder: Encoder
    vocab: Vocab
    states: States
    layers: tuple[int, ...]
    prefix_id: int | None

    @torch.inference_mode()
    def of(self, records: Sequence[Record], dtype: torch.dtype | None = None, piece: int | None = None) -> list[Tensor]:
        """The rows of all residues, (N, D) for each layer.

        With a `dtype` the plain network computes, in that type. With a `piece` its feed-forwards take so many tokens at
        a time, which those of a packed encoder always do. Raises UserError for letters the vocabulary lacks.
        """
        tokens, places, offsets = packed_tokens(records, self.vocab, self.prefix_id)
        tokens_T, documents = self._put(tokens), Documents(tuple(offsets.tolist()))
        if self.states == "encoder":
            output = self._encode(tokens_T, documents, self.layers, dtype, piece)
        else:
            memory_SD = self._encode(tokens_T, documents, (), dtype, piece).last_TD
            tokens, places, offsets = decoder_tokens(records, self.vocab)
            targets = Documents(tuple(offsets.tolist()))
            output = self.model.decode_layers(self._put(tokens), targets, memory_SD, documents, self.layers, piece)
        places_N = self._put(places)
        return [output.states[layer][places_N] for layer in self.layers]

    def _encode(
        self,
        tokens_T: Tensor,
        documents: Documents,
        layers: tuple[int, ...],
        dtype: torch.dtype | None,
        piece: int | None,
    ) -> EncoderOutput:
        if dtype is None and (piece is None or not isinstance(self.encoder, Ankh)):
            return self.encoder.encode(tokens_T, documents, layers)
        model = self.encoder if dtype is None and isinstance(self.encoder, Ankh) else self.model
        return model.encode(tokens_T, documents, layers, dtype, piece)

    def _put(self, numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(numbers).to(self.model.shared.weight.device)
