"""Counted operations against PyTorch's own counter over a reference network."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from openankh.config import ModelConfig
from openankh.pretraining.flops import encoder_flops, forward_flops, measured_peak, training_flops

CONFIG = ModelConfig(40, 24, 56, 8, 4, 3, 2)


def reference(config: ModelConfig) -> T5ForConditionalGeneration:
    hf = config.to_hf()
    del hf["architectures"], hf["model_type"]
    return T5ForConditionalGeneration(T5Config(**hf, attn_implementation="eager"))  # type: ignore[call-arg]


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("gated", [True, False])
def test_operations_equal_those_pytorch_counts(activation, gated):
    config = dataclasses.replace(CONFIG, activation=activation, gated=gated)
    num_sources, num_targets = 37, 11
    model = reference(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.full((1, num_sources), 5), decoder_input_ids=torch.full((1, num_targets), 5), use_cache=False)
    # The reference computes the masked half of the decoder's self-attention as well.
    masked = config.num_decoder_layers * 4 * config.inner * num_targets * (num_targets - 1) // 2
    assert forward_flops(config, [num_sources], [num_targets]) == counter.get_total_flops() - masked


def test_proteins_add_up_and_training_takes_three_passes():
    sources, targets = [37, 5, 100], [11, 3, 30]
    each = [forward_flops(CONFIG, [s], [t]) for s, t in zip(sources, targets, strict=True)]
    assert forward_flops(CONFIG, sources, targets) == sum(each)
    assert training_flops(CONFIG, sources, targets) == 3 * sum(each)


def test_an_encoder_alone_needs_no_targets():
    config = dataclasses.replace(CONFIG, num_decoder_layers=0)
    assert forward_flops(config, [37, 5], []) == encoder_flops(config, [37, 5])


def test_the_peak_is_a_plausible_number():
    assert 1e8 < measured_peak("cpu", torch.float32, seconds=0.05) < 1e14
