"""The honest control: a model of the same shape that has learnt nothing."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.vocab import Vocab

MAX_PARAMETERS = 100_000_000
"""Larger encoders are not drawn anew: it would take as long as the demo itself, and their memory twice."""


def untrained_vectors(
    config: ModelConfig, vocab: Vocab, records: Iterable[Record], seed: int = 0
) -> NDArray[np.floating] | None:
    """Mean-pooled embeddings (N, D) by an encoder of random weights (T5's own); None for too large a shape."""
    if config.num_encoder_parameters > MAX_PARAMETERS:
        return None
    model = Ankh(replace(config, num_decoder_layers=0))
    initialise(model, vocab, "published", seed)
    return np.stack([vector for _, vector in Embedder(model.eval(), vocab).embed(records)])
