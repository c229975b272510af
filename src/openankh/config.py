"""The shape of an Ankh network, as a frozen value that reads and writes the T5 `config.json` of Hugging Face."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from openankh.errors import UserError

Activation = Literal["gelu", "silu", "relu"]

_FEED_FORWARD_NAMES: dict[str, tuple[Activation, bool]] = {
    "gated-gelu": ("gelu", True),
    "gated-gelu_new": ("gelu", True),
    "gated-silu": ("silu", True),
    "gated-swish": ("silu", True),
    "gated-relu": ("relu", True),
    "gelu_new": ("gelu", False),
    "silu": ("silu", False),
    "swish": ("silu", False),
    "relu": ("relu", False),
}
_ACTIVATION_NAMES: dict[str, Activation] = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
_MOST = 1 << 24
"""More than any number of a model's shape, and small enough that products of two of them stay exact everywhere."""


@dataclass(frozen=True)
class ModelConfig:
    """Every number that decides the shape and the arithmetic of the network (Ankh paper, table of architectures).

    `gelu` is the tanh form; `relative_buckets` and `relative_distance` (residues) are those of T5's log buckets.
    """

    vocab_size: int
    d_model: int
    d_ff: int
    d_kv: int
    num_heads: int
    num_encoder_layers: int
    num_decoder_layers: int
    activation: Activation = "gelu"
    gated: bool = True
    relative_buckets: int = 64
    relative_distance: int = 128
    norm_eps: float = 1e-6
    tied_head: bool = False
    scale_decoder_outputs: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads", "num_encoder_layers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.num_decoder_layers < 0:
            raise UserError(f"num_decoder_layers is {self.num_decoder_layers}, but cannot be negative")
        if self.relative_buckets < 4 or self.relative_buckets % 2:
            raise UserError(f"relative_buckets is {self.relative_buckets}, but must be even and at least 4")
        if self.relative_distance <= self.relative_buckets // 2:
            raise UserError(
                f"relative_distance is {self.relative_distance}, but must exceed half of the "
                f"{self.relative_buckets} relative_buckets"
            )

    @property
    def inner(self) -> int:
        """The width of all heads together."""
        return self.num_heads * self.d_kv

    @property
    def num_encoder_parameters(self) -> int:
        """Parameters of the encoder, its input embedding included."""
        layer = 4 * self.d_model * self.inner + self._feed_forward_parameters + 2 * self.d_model
        return self.num_encoder_layers * layer + self._stack_parameters + self.vocab_size * self.d_model

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole network; a tied head is counted once, and an encoder alone has no head."""
        if not self.num_decoder_layers:
            return self.num_encoder_parameters
        layer = 8 * self.d_model * self.inner + self._feed_forward_parameters + 3 * self.d_model
        head = 0 if self.tied_head else self.vocab_size * self.d_model
        return self.num_encoder_parameters + self.num_decoder_layers * layer + self._stack_parameters + head

    @property
    def _feed_forward_parameters(self) -> int:
        return (3 if self.gated else 2) * self.d_model * self.d_ff

    @property
    def _stack_parameters(self) -> int:
        return self.relative_buckets * self.num_heads + self.d_model

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` that transformers reads as a T5."""
        name = {"gelu": "gelu_new", "silu": "silu", "relu": "relu"}[self.activation]
        return {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
            "d_ff": self.d_ff,
            "d_kv": self.d_kv,
            "num_heads": self.num_heads,
            "num_layers": self.num_encoder_layers,
            "num_decoder_layers": self.num_decoder_layers,
            "feed_forward_proj": _feed_forward_name(self.activation, self.gated),
            "dense_act_fn": name,
            "is_gated_act": self.gated,
            "relative_attention_num_buckets": self.relative_buckets,
            "relative_attention_max_distance": self.relative_distance,
            "layer_norm_epsilon": self.norm_eps,
            "tie_word_embeddings": self.tied_head,
            "scale_decoder_outputs": self.scale_decoder_outputs,
            "dropout_rate": 0.0,
            "is_encoder_decoder": True,
            "use_cache": True,
            "initializer_factor": 1.0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], tied_head: bool | None = None) -> "ModelConfig":
        """Read a T5 `config.json`; UserError names the key that is missing or that we do not implement.

        `tied_head` overrules the file, for callers who have seen the tensors: what the file says is unreliable.
        """
        if config.get("model_type") != "t5":
            raise UserError(f"model_type is {config.get('model_type')!r}; only 't5' (the Ankh architecture) is read")
        numbers = {ours: _read_number(config, theirs) for theirs, ours in _NUMBERS.items()}
        activation, gated = _read_feed_forward(config)
        tied = _read_flag(config, "tie_word_embeddings", default=True)
        num_decoder_layers = config.get("num_decoder_layers")
        return cls(
            **numbers,
            num_decoder_layers=(
                numbers["num_encoder_layers"]
                if num_decoder_layers is None
                else _read_number(config, "num_decoder_layers")
            ),
            activation=activation,
            gated=gated,
            relative_buckets=_read_number(config, "relative_attention_num_buckets", default=32),
            relative_distance=_read_number(config, "relative_attention_max_distance", default=128),
            norm_eps=_read_eps(config),
            tied_head=tied if tied_head is None else tied_head,
            scale_decoder_outputs=_read_flag(config, "scale_decoder_outputs", default=tied),
        )


_NUMBERS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_ff": "d_ff",
    "d_kv": "d_kv",
    "num_heads": "num_heads",
    "num_layers": "num_encoder_layers",
}


def _feed_forward_name(activation: Activation, gated: bool) -> str:
    if gated:
        return {"gelu": "gated-gelu", "silu": "gated-silu", "relu": "gated-relu"}[activation]
    return {"gelu": "gelu_new", "silu": "silu", "relu": "relu"}[activation]


def _read_number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    number = config.get(key, default)
    if not isinstance(number, int) or isinstance(number, bool):
        raise UserError(f"{key}: missing or not a whole number in the model's config.json")
    if number > _MOST:
        raise UserError(f"{key} is {number}, far more than any model's; the model's config.json is damaged")
    return number


def _read_flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    flag = config.get(key)
    if flag is None:
        return default
    if not isinstance(flag, bool):
        raise UserError(f"{key} is {str(flag)[:40]!r} in the model's config.json, but must be true or false")
    return flag


def _read_eps(config: Mapping[str, Any]) -> float:
    eps = config.get("layer_norm_epsilon", 1e-6)
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
        raise UserError(
            f"layer_norm_epsilon is {str(eps)[:40]!r} in the model's config.json, but must lie between 0 and 1"
        )
    return float(eps)


def _read_feed_forward(config: Mapping[str, Any]) -> tuple[Activation, bool]:
    """From `feed_forward_proj`, overruled by `dense_act_fn` and `is_gated_act` where present, as transformers does."""
    name = config.get("feed_forward_proj", "relu")
    if not isinstance(name, str) or name not in _FEED_FORWARD_NAMES:
        legal = ", ".join(sorted(_FEED_FORWARD_NAMES))
        raise UserError(f"feed_forward_proj is {str(name)[:40]!r}, which is not implemented; legal: {legal}")
    activation, gated = _FEED_FORWARD_NAMES[name]
    gated = _read_flag(config, "is_gated_act", default=gated)
    function = config.get("dense_act_fn", activation if activation != "gelu" else "gelu_new")
    if not isinstance(function, str) or function not in _ACTIVATION_NAMES:
        legal = ", ".join(sorted(_ACTIVATION_NAMES))
        raise UserError(f"dense_act_fn is {str(function)[:40]!r}, which is not implemented; legal: {legal}")
    return _ACTIVATION_NAMES[function], gated
