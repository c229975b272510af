"""transformers' T5EncoderModel: eager and sdpa attention, one protein a call and batches sorted by length."""

from collections.abc import Iterator
from typing import Any

import torch
from bench_embed import peer_states

from rivals import Way

SORTED = 1024
"""Padded tokens of a batch of proteins sorted by length."""


def ways(eager: Any, sdpa: Any, sdpa_bf16: Any, num_proteins: int) -> Iterator[Way]:
    """All ways to run the three models; sorting means nothing for one protein."""
    for model, numbers, how in ((eager, "fp32", "eager"), (sdpa, "fp32", "sdpa"), (sdpa_bf16, "bf16", "sdpa")):
        for budget in (0, SORTED) if num_proteins > 1 and model is not eager else (0,):
            style = f"{how}, sorted batches" if budget else f"{how}, one by one"

            def states(tokens: Any, model: Any = model, budget: int = budget) -> list[torch.Tensor]:
                return [rows.float() for rows in peer_states(model, tokens, budget)]

            yield Way("transformers", numbers, style, states)
