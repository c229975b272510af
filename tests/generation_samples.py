"""Random networks, prompts and scripts for tests of generation."""

import random
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from embedding_models import tiny_model
from openankh.decoding import Decoder, for_decoding
from openankh.fasta import Record
from openankh.generation.completion import Completer
from openankh.generation.method import Method
from openankh.generation.options import CompletionOptions, Task
from openankh.generation.reader import Reader
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.script import Script
from openankh.generation.stretch import Stretch
from openankh.inference import for_inference
from openankh.model import Ankh
from openankh.torch_decoder import TorchDecoder
from openankh.vocab import Vocab, ankh_vocab, openankh_vocab
from openankh.weight_packer import Packer, plain_kind

VOCABS = {"ankh": ankh_vocab(), "openankh": openankh_vocab()}


def decoder_of(model: Ankh, way: str = "fastest") -> Decoder:
    """The decoder that inference takes, or the one by torch alone."""
    return (
        for_decoding(model) if way == "fastest" else TorchDecoder(model, Packer(plain_kind(model.shared.weight.dtype)))
    )


def reader_of(model: Ankh, way: str = "fastest") -> Reader:
    return Reader(for_inference(model), decoder_of(model, way), torch.device("cpu"))


@lru_cache
def small_model(vocab: str) -> Ankh:
    """A network whose widths the C kernels take."""
    model = tiny_model(VOCABS[vocab])
    wide = Ankh(replace(model.config, d_model=32, d_ff=48, d_kv=16)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            if weight.dim() == 2:
                weight.copy_(torch.randn(weight.shape) * (1 if "bias" in name else 2) * weight.shape[1] ** -0.5)
    return wide


def completer_of(
    vocab: str,
    stretch: Stretch,
    method: Method | None = None,
    rules: ResidueRules | None = None,
    *,
    num: int = 1,
    seed: int = 0,
    way: str = "fastest",
    window: int = 115,
    max_rows: int | None = None,
    task: Task = "auto",
) -> Completer:
    options = CompletionOptions(
        stretch,
        method or Method(),
        rules or ResidueRules(),
        num,
        seed,
        task,
        window,
        max_rows,
    )
    model = small_model(vocab)
    return Completer(reader_of(model, way), VOCABS[vocab], model.config.vocab_size, options)


def draw_records(count: int, shortest: int = 2, longest: int = 60, seed: int = 0) -> list[Record]:
    source = random.Random(seed)
    lengths = [source.randint(shortest, longest) for _ in range(count)]
    sequences = ["".join(source.choices("ALGVSREDTIPKFQNYMHWC", k=length)) for length in lengths]
    return [Record(f"P{number}", "", sequence, number) for number, sequence in enumerate(sequences)]


def draw_inputs(count: int, longest: int = 60, seed: int = 0) -> list[NDArray[np.int64]]:
    """Encoder inputs of many lengths, each closed by `</s>`."""
    source = np.random.default_rng(seed)
    return [np.append(source.integers(3, 140, source.integers(1, longest)), 1) for _ in range(count)]


def free_script(num_tokens: int, width: int) -> Script:
    """Anything may be written."""
    return Script(
        np.array([0]), np.zeros((num_tokens, 0), np.int64), np.ones((1, width), bool), np.zeros(num_tokens, np.int64)
    )


def vocab_of(name: str) -> Vocab:
    return VOCABS[name]
