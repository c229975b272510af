"""What encoder and decoder read and what the decoder is to say, of the same proteins, packed."""

from dataclasses import dataclass
from typing import Protocol

from openankh.packed import Packed


class Pairs(Protocol):
    """Sequence b of each belongs to protein b; `decoder_inputs` are the targets shifted right."""

    @property
    def inputs(self) -> Packed: ...

    @property
    def decoder_inputs(self) -> Packed: ...

    @property
    def targets(self) -> Packed: ...


@dataclass(frozen=True, eq=False)
class PackedPairs:
    """Pairs and nothing else; a training batch tells more."""

    inputs: Packed
    decoder_inputs: Packed
    targets: Packed
