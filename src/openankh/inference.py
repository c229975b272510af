"""The encoder as inference runs it on a CPU: weights packed once, proteins divided among threads.

The sum that runs through the layers stays in fp32, also between bf16 products: rounding it twice a layer would be the
largest of bf16's errors.

`for_inference(model)` gives an object with the `encode` of the model and the same results; elsewhere than on a CPU it
is the model itself.

T packed tokens, D model width.
"""

import copy
from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from openankh.attention import Documents
from openankh.compiled_stack import CompiledStack
from openankh.int8.support import require_int8
from openankh.model import Ankh, EncoderOutput
from openankh.native import kernels
from openankh.precision import Precision
from openankh.shares import Share, plan_of
from openankh.threads import map_on_cores
from openankh.torch_stack import TorchStack
from openankh.weight_packer import Kind, Packer, plain_kind


class Encoder(Protocol):
    """What embeds proteins: the network itself, or its packed form."""

    def encode(self, tokens_T: Tensor, documents: Documents, layers: Collection[int] = ()) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`."""
        ...


_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def for_inference(model: Ankh, precision: Precision = "auto", release: bool = False) -> Encoder:
    """The fastest encoder of these weights where they lie; the model's later changes do not reach it.

    It holds a second copy of the encoder's matrices; with `release` those of the model are given up one by one as they
    are packed, and the model cannot be used any more. Where no packed form serves it is the model itself, or with
    another precision a copy.
    """
    weight = model.shared.weight
    if precision == "int8":
        return _int8_encoder(model, release)
    kind = _kind_of(precision, weight)
    if kind is not None:
        return PackedEncoder(model, kind, release)
    dtype = _DTYPES.get(precision, weight.dtype)
    if dtype == weight.dtype:
        return model
    return (model if release else copy.deepcopy(model)).to(dtype)


def _int8_encoder(model: Ankh, release: bool) -> Encoder:
    require_int8(model.shared.weight.device)
    from openankh.int8.encoder import Int8Encoder  # numba, which only this needs, takes its time to import

    return Int8Encoder(model, release)


def _kind_of(precision: Precision, weight: Tensor) -> Kind | None:
    """How the packed encoder computes in this precision; None where it cannot."""
    dtype = _DTYPES.get(precision, weight.dtype)
    if weight.device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return None
    return plain_kind(dtype)


class PackedEncoder:
    """The encoder of an `Ankh`, packed; see `for_inference`."""

    @torch.no_grad()
    def __init__(self, model: Ankh, kind: Kind | None = None, release: bool = False) -> None:
        kind = kind or plain_kind(model.shared.weight.dtype)
        packer, found = Packer(kind, release), kernels()
        served = found is not None and found.serves(model.config, kind.dtype)
        self._stack = CompiledStack(model, packer, found) if found and served else TorchStack(model, packer)

    @torch.no_grad()
    def encode(self, tokens_T: Tensor, documents: Documents, layers: Collection[int] = ()) -> EncoderOutput:
        """Encode packed proteins, as `Ankh.encode`; without gradients."""
        plan = plan_of(documents, torch.get_num_threads())
        if not plan.apart:
            return self._stack.run(tokens_T, documents, layers)

        def run(share: Share) -> EncoderOutput:
            return self._stack.run(tokens_T[share.rows(documents)], share.documents(documents), layers)

        outputs = [(share, output) for share, output in zip(plan.apart, map_on_cores(run, plan.apart), strict=True)]
        if plan.common.numbers:
            outputs.append((plan.common, run(plan.common)))
        return _joined(outputs, documents)


def _joined(outputs: Sequence[tuple[Share, EncoderOutput]], documents: Documents) -> EncoderOutput:
    """The states of shares in the batch's order."""
    states: dict[int, Tensor] = {}
    for share, output in outputs:
        rows_T = share.rows(documents)
        for layer, state_TD in output.states.items():
            if layer not in states:
                states[layer] = state_TD.new_empty(documents.num_tokens, state_TD.shape[1])
            states[layer][rows_T] = state_TD
    return EncoderOutput(states, outputs[0][1].num_layers)
