"""How proteins are embedded: pooling, layers, number types, prefix, batch size; each checked against the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.precision import PRECISIONS, Precision
from openankh.store import DTYPES, POOLS, STATES, Dtype, Pool, States
from openankh.vocab import Vocab

Prefix = Literal["auto", "nlu", "s2s", "none"]
PREFIXES: tuple[Prefix, ...] = ("auto", "nlu", "s2s", "none")
Layer = int | Sequence[int] | Literal["all"]


@dataclass(frozen=True)
class EmbedOptions:
    """What to make of each protein.

    pool: `mean` or `max` over its residues, one row a protein, or `residues` (also `none`), one row each. layer: as the
    index into transformers' `hidden_states`: 0 the embedded input, n the output of layer n, the last one after the
    final norm; negative from the end, so -1 is the stack's output; several in the order wanted, or `all`. dtype: what
    results are rounded to; None is the type computed in. prefix: `auto` puts `[NLU]` in front where the vocabulary has
    it. max_tokens: of a batch; None is learned from the memory there is. precision: how the network computes; `auto` is
    as it was loaded. states: of the encoder, or of the decoder while it reads the protein itself. Raises UserError for
    what is none of these.
    """

    pool: Pool = "mean"
    layer: Layer = -1
    dtype: Dtype | None = None
    prefix: Prefix = "auto"
    max_tokens: int | None = None
    precision: Precision = "auto"
    states: States = "encoder"

    def __post_init__(self) -> None:
        if self.pool == "none":
            object.__setattr__(self, "pool", "residues")
        _require_one_of("pool", self.pool, POOLS)
        _require_one_of("prefix", self.prefix, PREFIXES)
        _require_one_of("precision", self.precision, PRECISIONS)
        _require_one_of("states", self.states, STATES)
        if self.dtype is not None:
            _require_one_of("dtype", self.dtype, DTYPES)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        object.__setattr__(self, "layer", _layer(self.layer))

    def layers_of(self, config: ModelConfig) -> tuple[int, ...]:
        """The layers counted from 0; UserError naming the legal range, a layer named twice, a decoder not there."""
        num_layers = config.num_encoder_layers if self.states == "encoder" else config.num_decoder_layers
        if not num_layers:
            raise UserError(f"states {self.states}: this model has no {self.states}; use encoder")
        if self.layer == "all":
            return tuple(range(num_layers + 1))
        named = (self.layer,) if isinstance(self.layer, int) else self.layer
        layers: list[int] = []
        for name in named:
            assert isinstance(name, int)
            layer = name + num_layers + 1 if name < 0 else name
            if not 0 <= layer <= num_layers:
                raise UserError(
                    f"layer {name}: this model's {self.states} has layers 0 (its input) to {num_layers}, "
                    f"or -{num_layers + 1} to -1 from the end"
                )
            if layer in layers:
                raise UserError(f"layer {name}: named twice; name each layer once")
            layers.append(layer)
        return tuple(layers)

    def prefix_of(self, vocab: Vocab) -> str:
        """The piece put in front of each protein, or "" for none; UserError when the vocabulary lacks it."""
        if self.prefix == "none" or (self.prefix == "auto" and not vocab.has_prefix("[NLU]")):
            return ""
        name = "[S2S]" if self.prefix == "s2s" else "[NLU]"
        if not vocab.has_prefix(name):
            raise UserError(f"prefix {self.prefix}: this model's vocabulary has no {name}; use auto or none")
        return name


def parse_layers(texts: Sequence[str]) -> Layer:
    """The layers that texts such as `24`, `12,24` or `all` name; UserError for any other text."""
    words = [word.strip() for text in texts for word in text.split(",")]
    if words == ["all"]:
        return "all"
    try:
        numbers = tuple(int(word) for word in words)
    except ValueError:
        shown = ",".join(words)
        raise UserError(f"layer {shown!r}: give a number, several with commas between them, or all") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _layer(layer: Layer) -> Layer:
    """One layer as a number, several as a tuple; UserError for anything else."""
    if layer == "all" or (isinstance(layer, int) and not isinstance(layer, bool)):
        return layer
    several = tuple(layer) if isinstance(layer, Sequence) and not isinstance(layer, str) else ()
    if not several or not all(isinstance(number, int) for number in several):
        raise UserError(f"layer {layer!r}: give a number, several in a list, or all")
    return several[0] if len(several) == 1 else several


def _require_one_of(what: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        near = get_close_matches(str(value).lower(), legal, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{what} {value!r}: not one of {', '.join(legal)}{hint}")
