"""Floating-point operations of a T5 over packed proteins, and how much of the machine's peak they use.

A multiply-add counts as two. Counted are the matrix products of the network and of attention; norms, softmax,
activations and embeddings are not, nor is anything computed twice.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch

from openankh.config import ModelConfig

Lengths = Sequence[int] | np.ndarray


def forward_flops(config: ModelConfig, source_lengths: Lengths, target_lengths: Lengths) -> int:
    """Of one pass over proteins whose encoder and decoder tokens are these many; causal attention counts half."""
    sources, targets = np.asarray(source_lengths, np.int64), np.asarray(target_lengths, np.int64)
    encoder = encoder_flops(config, sources)
    return encoder + _decoder_flops(config, sources, targets) if config.num_decoder_layers else encoder


def training_flops(config: ModelConfig, source_lengths: Lengths, target_lengths: Lengths) -> int:
    """Of one pass forward and backward: the backward pass takes twice the forward one."""
    return 3 * forward_flops(config, source_lengths, target_lengths)


def encoder_flops(config: ModelConfig, lengths: Lengths) -> int:
    """Of one pass of the encoder over proteins of these numbers of tokens."""
    sources = np.asarray(lengths, np.int64)
    num_tokens, num_pairs = int(sources.sum()), int((sources**2).sum())
    projections = 4 * config.d_model * config.inner
    layer = 2 * num_tokens * (projections + _feed_forward(config)) + 4 * num_pairs * config.inner
    return config.num_encoder_layers * layer


def _decoder_flops(config: ModelConfig, sources: np.ndarray, targets: np.ndarray) -> int:
    num_sources, num_targets = int(sources.sum()), int(targets.sum())
    num_pairs = int((targets * (targets + 1) // 2 + targets * sources).sum())
    square = config.d_model * config.inner
    # Self-attention has four projections of targets, cross-attention two of targets and two of sources.
    projections = num_targets * (6 * square + _feed_forward(config)) + num_sources * 2 * square
    head = 2 * num_targets * config.d_model * config.vocab_size
    return config.num_decoder_layers * (2 * projections + 4 * num_pairs * config.inner) + head


def _feed_forward(config: ModelConfig) -> int:
    return (3 if config.gated else 2) * config.d_model * config.d_ff


def measured_peak(device: torch.device | str, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """The operations a second that a large matrix product reaches here, with the threads set now: the best of several.

    A stand-in for a figure from a data sheet, which on a CPU nothing attains.
    """
    size = 8192 if torch.device(device).type == "cuda" else 1024
    # A generator of its own: the one that the run's state keeps must not be moved by a measurement.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    torch.mm(left, right)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        torch.mm(left, right)
        if left.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
