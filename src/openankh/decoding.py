"""Decoding: what reads encoded proteins and writes tokens, the keys and values of all that was read and written kept.

Several proteins are decoded side by side, each with as many rows (hypotheses or samples of one protein, which share
what was read of it) and each at its own step. G proteins, B rows of each, C tokens a step, S packed encoder tokens, T
packed targets, D model width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openankh.attention import Documents
from openankh.compiled_decoder import CompiledDecoder
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.native import kernels
from openankh.native.kept_attention import kept_attention
from openankh.torch_decoder import TorchDecoder
from openankh.weight_packer import Packer, plain_kind

Source: TypeAlias = Any
"""What a decoder keeps of an encoded protein, keys and values of every layer; of use to that decoder alone."""


class Decoding(Protocol):
    """Proteins at work, as many rows of each."""

    def __len__(self) -> int:
        """How many proteins."""
        ...

    def add(self, sources: Sequence[Source], longest: Sequence[int]) -> None:
        """Begin with more proteins, with room for so many tokens of each."""
        ...

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with these proteins alone, in this order."""
        ...

    def step(self, tokens_GBC: NDArray[np.integer]) -> NDArray[np.float32]:
        """Each row reads C tokens (`<pad>` first of all); the logits of what follows the last of them, (G, B, V)."""
        ...

    def reorder(self, parents_GB: NDArray[np.integer]) -> None:
        """Row b of a protein goes on from what its row `parents[b]` has read."""
        ...


class Decoder(Protocol):
    """A network's decoder; equal proteins give equal numbers in any company, where `is_exact` in every bit."""

    is_exact: bool

    def read(self, memory_SD: Tensor, sources: Documents) -> Sequence[Source]:
        """Keys and values of encoded proteins, each to be used as often as wanted."""
        ...

    def begin(self, num_rows: int) -> Decoding:
        """Start to write, so many rows of each protein."""
        ...

    def force(self, sources: Sequence[Source], tokens_T: NDArray[np.integer], targets: Documents) -> Tensor:
        """Logits (T, V) of what follows each given token; each source has a target, shifted right by `<pad>`."""
        ...


def for_decoding(model: Ankh) -> Decoder:
    """The fastest decoder of these weights where they lie; the model's later changes do not reach it.

    Raises UserError for an encoder alone.
    """
    if not model.config.num_decoder_layers:
        raise UserError("the model has no decoder: it is an encoder alone, which embeds but writes nothing")
    weight = model.shared.weight
    packer, found = Packer(plain_kind(weight.dtype)), kernels()
    if weight.device.type == "cpu" and found and found.serves(model.config, weight.dtype):
        kernel = kept_attention(found, model.config.num_heads)
        if kernel is not None:
            return CompiledDecoder(model, packer, found, kernel)
    return TorchDecoder(model, packer)
