"""How proteins are embedded: pooling, layer, number type, prefix, batch size; each checked against the model."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from openankh.errors import UserError
from openankh.store import DTYPES, POOLS, Dtype, Pool
from openankh.vocab import Vocab

Prefix = Literal["auto", "nlu", "s2s", "none"]
PREFIXES: tuple[Prefix, ...] = ("auto", "nlu", "s2s", "none")


@dataclass(frozen=True)
class EmbedOptions:
    """What to make of each protein.

    pool: `mean` or `max` over its residues, one row a protein, or `residues`, one row each. layer: as the index into
    transformers' `hidden_states`: 0 the embedded input, n the output of layer n, the last one after the final norm;
    negative from the end, so -1 is the encoder's output. dtype: of the numbers; None is that of the model, and fp16 is
    only ever rounded to at the end, since T5 overflows in it. prefix: `auto` puts `[NLU]` in front where the vocabulary
    has it. max_tokens: of a batch; None is a good size for the device. Raises UserError for what is none of these.
    """

    pool: Pool = "mean"
    layer: int = -1
    dtype: Dtype | None = None
    prefix: Prefix = "auto"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_one_of("pool", self.pool, POOLS)
        _require_one_of("prefix", self.prefix, PREFIXES)
        if self.dtype is not None:
            _require_one_of("dtype", self.dtype, DTYPES)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; it must be at least 1")

    def layer_of(self, num_layers: int) -> int:
        """The layer counted from 0, in an encoder of `num_layers`; UserError naming the legal range."""
        layer = self.layer + num_layers + 1 if self.layer < 0 else self.layer
        if not 0 <= layer <= num_layers:
            raise UserError(
                f"layer {self.layer}: this model's encoder has layers 0 (its input) to {num_layers}, "
                f"or -{num_layers + 1} to -1 from the end"
            )
        return layer

    def prefix_of(self, vocab: Vocab) -> str:
        """The piece put in front of each protein, or "" for none; UserError when the vocabulary lacks it."""
        if self.prefix == "none" or (self.prefix == "auto" and not vocab.has_prefix("[NLU]")):
            return ""
        name = "[S2S]" if self.prefix == "s2s" else "[NLU]"
        if not vocab.has_prefix(name):
            raise UserError(f"prefix {self.prefix}: this model's vocabulary has no {name}; use auto or none")
        return name


def _require_one_of(what: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        near = get_close_matches(str(value).lower(), legal, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{what} {value!r}: not one of {', '.join(legal)}{hint}")
