"""How proteins become the vectors that are searched: which model, and what it makes of each protein."""

from dataclasses import dataclass
from typing import Literal

from openankh.embedding.options import EmbedOptions, Prefix
from openankh.errors import UserError
from openankh.store import Provenance

_PREFIXES: dict[str, Prefix] = {"": "none", "[NLU]": "nlu", "[S2S]": "s2s"}


@dataclass(frozen=True)
class VectorKind:
    """One vector a protein: `options` of one layer. `model_sha256` is that of the very model wanted, None where any of
    this name will do; `searched` names what the vectors are to match, for messages.
    """

    model: str
    options: EmbedOptions
    model_sha256: str | None = None
    searched: str = ""

    @classmethod
    def of(cls, provenance: Provenance, layer: int, searched: str, model: str | None = None) -> "VectorKind":
        """That of the vectors of a store; `model` where the model is to be found elsewhere than the store says."""
        prefix = _PREFIXES.get(provenance.prefix)
        if prefix is None:
            raise UserError(f"{searched}: was embedded with the prefix {provenance.prefix!r}, which is not known here")
        options = EmbedOptions(
            provenance.pool,
            layer,
            provenance.dtype,
            prefix,
            precision=provenance.precision,
            states=provenance.states,
        )
        return cls(model or provenance.model, options, provenance.model_sha256, searched)


@dataclass(frozen=True)
class ModelAccess:
    """How a model is loaded, and what to do about letters it does not know."""

    device: str = "auto"
    trust_pickle: bool = False
    offline: bool = False
    unknown: Literal["error", "x"] = "error"
