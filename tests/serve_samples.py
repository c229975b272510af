"""A server for tests: the application on a tiny untrained model, and a model of the engine that only counts."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from openankh.checkpoint import save_model
from openankh.config import ModelConfig
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.loaded import load
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.provenance import Provenance
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import Limits, Settings
from openankh.serve.waiting import Array
from openankh.vocab import openankh_vocab

NAME = "tiny"


def tiny_model(folder: Path) -> Path:
    """A model folder of a few thousand weights, with a decoder."""
    vocab = openankh_vocab()
    config = ModelConfig(
        vocab_size=vocab.size, d_model=16, d_ff=32, d_kv=8, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    model = Ankh(config)
    initialise(model, vocab, "published", seed=0)
    save_model(model, vocab, folder / NAME, Provenance(NAME, "CC-BY-4.0"))
    return folder / NAME


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> ModelHost:
    """The tiny model, loaded once."""
    return ModelHost(replace(load(tiny_model(tmp_path_factory.mktemp("served")), dtype="fp32"), name=NAME, place=None))


def small_limits(**changes: float) -> Limits:
    """Limits that tests can reach."""
    few = Limits(body_bytes=20_000, proteins=5, residues=200, request_residues=600, variants=50, written_residues=500)
    return replace(few, **changes)


def small_settings(**limits: float) -> Settings:
    """Settings with small limits."""
    return Settings(model=NAME, limits=small_limits(**limits))


def records(*lengths: int) -> list[Record]:
    """Proteins of these lengths."""
    return [
        Record(f"P{n}", "", "MKTAYIAKQR" * (length // 10) + "A" * (length % 10), n) for n, length in enumerate(lengths)
    ]


@dataclass(eq=False)
class CountingModel:
    """Embeds a protein as its length; waits at `gate` before each batch, and remembers the batches."""

    tokens: int = 100
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None

    def max_tokens(self, options: EmbedOptions) -> int:
        """Tokens of a batch."""
        return self.tokens

    def embed(self, options: EmbedOptions, found: Sequence[Record]) -> list[Array]:
        """The lengths."""
        self.begun.set()
        assert self.gate.wait(30)
        self.batches.append([len(each.sequence) for each in found])
        if self.failure is not None:
            raise self.failure
        return [np.array([len(each.sequence)], np.float32) for each in found]
