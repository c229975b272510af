"""Tiny models and made-up proteins for tests of embedding."""

import numpy as np
import torch

from openankh.config import ModelConfig
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.vocab import Vocab, ankh_vocab, openankh_vocab

VOCABS = {"ankh": ankh_vocab(), "openankh": openankh_vocab()}
NUM_LAYERS, NUM_DECODER_LAYERS = 3, 2


def tiny_model(vocab: Vocab, seed: int = 0) -> Ankh:
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=vocab.size,
        d_model=24,
        d_ff=40,
        d_kv=8,
        num_heads=3,
        num_encoder_layers=NUM_LAYERS,
        num_decoder_layers=NUM_DECODER_LAYERS,
    )
    model = Ankh(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "bias" not in name and "shared" not in name:
                weight.mul_(0.5)
    return model


def one_layer_model(width: int) -> Ankh:
    """A network of the width of a real one, and little else."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=144,
        d_model=width,
        d_ff=4 * width,
        d_kv=8 if width < 64 else 64,
        num_heads=max(width // 64, 1),
        num_encoder_layers=1,
        num_decoder_layers=0,
    )
    model = Ankh(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "bias" not in name and "shared" not in name:
                weight.normal_(0, weight.shape[1] ** -0.5)
    return model


MODELS = {name: tiny_model(vocab) for name, vocab in VOCABS.items()}


def proteins(lengths: list[int], seed: int = 0) -> list[Record]:
    generator = np.random.default_rng(seed)
    letters = list("ACDEFGHIKLMNPQRSTVWYX")
    return [
        Record(f"P{number}", "", "".join(generator.choice(letters, length)), number + 1)
        for number, length in enumerate(lengths)
    ]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


MIXED = proteins([5, 1, 70, 33, 2, 200, 64, 64, 9, 120])
