"""Models of transformers with random weights, the oracle: tiny ones, and those of the published shapes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from model_folders import SOURCE, TARGET, TINY
from openankh.config import ModelConfig
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH, Vocab

_LARGE = ModelConfig(144, 1536, 3840, 64, 16, 48, 24)
PUBLISHED_SHAPES = {
    "ankh-base": ModelConfig(144, 768, 3072, 64, 12, 48, 24),
    "ankh-large": _LARGE,
    "ankh2-ext1": replace(_LARGE, activation="silu"),
    "ankh2-ext2": replace(_LARGE, activation="silu"),
    "ankh3-large": replace(_LARGE, activation="silu", vocab_size=256),
    "ankh3-xl": ModelConfig(256, 2560, 6720, 64, 32, 48, 24, activation="silu"),
}
ANKH3_LIKE = Vocab(
    (
        *("<pad>", "</s>", "<unk>", "▁", "[NLU]", "[S2S]", "[GLM]", *"LAGSVERTIDPKNFQYHMCW", *"XBZU"),
        *(f"<extra_id_{number}>" for number in range(224, -1, -1)),
    )
)
"""What is known of Ankh3's vocabulary; the order of ids 3 to 6 and 27 to 30 is made up."""


def miniature(shape: ModelConfig) -> ModelConfig:
    """The same heads, head width, buckets, activation and vocabulary; a sixteenth of the widths, 4 and 2 layers."""
    narrow = replace(shape, d_model=shape.d_model // 16, d_ff=shape.d_ff // 16)
    return replace(narrow, num_encoder_layers=4, num_decoder_layers=2)


def vocab_of(shape: ModelConfig) -> Vocab:
    """The vocabulary of a published shape."""
    return ANKH if shape.vocab_size == ANKH.size else ANKH3_LIKE


@torch.no_grad()
def draw_oracle(shape: ModelConfig, seed: int = 0, branch_scale: float = 1.0) -> T5ForConditionalGeneration:
    """A T5 as transformers draws it, but for norms around 1, a head of its own, and `branch_scale`.

    That multiplies what the matrices at the end of each branch (o and wo) write into the sum of the layers.
    """
    torch.manual_seed(seed)
    settings = {name: value for name, value in shape.to_hf().items() if name != "architectures"}
    with quiet_transformers():
        model = T5ForConditionalGeneration(T5Config(**settings)).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if "layer_norm" in name:
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        elif name.endswith((".o.weight", ".wo.weight")):
            parameter.mul_(branch_scale)
    head = torch.randn(shape.vocab_size, shape.d_model) * shape.d_model**-0.5
    model.lm_head.weight = nn.Parameter(head, requires_grad=False)
    return model


def save_oracle(model: T5ForConditionalGeneration, vocab: Vocab, folder: Path) -> None:
    """Let transformers write the model, with tokenizer files beside it."""
    with quiet_transformers():
        model.save_pretrained(folder)
    write_tokenizer(vocab, folder)


def hugging_face_model(
    feed_forward: str = "gated-gelu", tied: bool = False, seed: int = 0
) -> T5ForConditionalGeneration:
    """A T5 of transformers with random weights; transformers 5 ties every new head, so an untied one is set here."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {**TINY.to_hf(), "feed_forward_proj": feed_forward, "tie_word_embeddings": tied}
    for derived in ("dense_act_fn", "is_gated_act", "scale_decoder_outputs"):
        del settings[derived]
    model = T5ForConditionalGeneration(T5Config.from_dict(settings))
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.randn(144, 16))
    return model.eval()


@torch.no_grad()
def hugging_face_logits(model: T5ForConditionalGeneration) -> Tensor:
    """Transformers' logits of TARGET given SOURCE."""
    return model(input_ids=torch.tensor([SOURCE]), decoder_input_ids=torch.tensor([TARGET])).logits[0]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the warnings and progress bars of transformers."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
