"""A model that reads and writes: encoder and decoder as inference runs them, and what it takes to read in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.attention import Documents
from openankh.decoding import Decoder, Source
from openankh.inference import Encoder
from openankh.packed import Packed

MOST_TOKENS = 4096
"""Tokens that are encoded together, unless one protein has more."""


@dataclass(frozen=True, eq=False)
class Reader:
    """`encoder` and `decoder` of one model, on one device."""

    encoder: Encoder
    decoder: Decoder
    device: torch.device

    def read(self, inputs: Sequence[NDArray[np.integer]]) -> list[Source]:
        """What the decoder needs of each of these encoder inputs; equal ones are read once."""
        numbers: dict[bytes, int] = {}
        of_input = [numbers.setdefault(ids.astype(np.int64).tobytes(), len(numbers)) for ids in inputs]
        different = [np.frombuffer(key, np.int64) for key in numbers]
        sources = [source for batch in batches(different) for source in self._read_batch(batch)]
        return [sources[number] for number in of_input]

    def _read_batch(self, inputs: Sequence[NDArray[np.int64]]) -> Sequence[Source]:
        packed = Packed.join(inputs)
        documents = Documents(tuple(packed.offsets.tolist()))
        with torch.inference_mode():
            tokens_S = torch.as_tensor(packed.ids).to(self.device)
            return self.decoder.read(self.encoder.encode(tokens_S, documents).last_TD, documents)


def batches(inputs: Sequence[NDArray[np.int64]], most_tokens: int = MOST_TOKENS) -> Iterator[list[NDArray[np.int64]]]:
    """Neighbouring inputs of so many tokens together at most; a longer one is alone."""
    batch: list[NDArray[np.int64]] = []
    for ids in inputs:
        if batch and sum(map(len, batch)) + len(ids) > most_tokens:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch
