"""Activation checkpointing: layers keep their inputs alone, and are computed again for gradients (arXiv 1604.06174)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from openankh.model import Ankh


def recompute_layers(model: Ankh) -> None:
    """Let each layer of both stacks, in place, be computed again for its gradients; same numbers, names as before."""
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Tensor], *arguments: Any, **named: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(*arguments, **named)
    # Nothing in a layer is random: there is no state of generators to be kept.
    return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=False, **named)
