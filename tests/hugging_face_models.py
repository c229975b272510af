"""Small models of transformers, the oracle for model folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from model_folders import SOURCE, TARGET, TINY


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
