"""How proteins become the vectors that are searched: which model, pool and layer, computed and rounded how."""

from dataclasses import dataclass
from typing import Literal

from openankh.embedding.options import Prefix
from openankh.errors import UserError
from openankh.precision import Precision
from openankh.published import BUNDLED
from openankh.store import Dtype, Pool, Provenance

_PREFIXES: dict[str, Prefix] = {"": "none", "[NLU]": "nlu", "[S2S]": "s2s"}


@dataclass(frozen=True)
class VectorKind:
    """One vector a protein: `layer` counts from the end where negative; `model_sha256` is that of the very model
    wanted, None where any of this name will do; `searched` names what the vectors are to match, for messages.
    """

    model: str = BUNDLED
    model_sha256: str | None = None
    pool: Pool = "mean"
    layer: int = -1
    prefix: Prefix = "auto"
    precision: Precision = "auto"
    dtype: Dtype | None = None
    searched: str = ""

    @classmethod
    def of(cls, provenance: Provenance, layer: int, searched: str, model: str | None = None) -> "VectorKind":
        """That of the vectors of a store; `model` where the model is to be found elsewhere than the store says."""
        if provenance.states != "encoder":
            raise UserError(
                f"{searched}: holds states of the {provenance.states}; give the queries as such a store too"
            )
        prefix = _PREFIXES.get(provenance.prefix)
        if prefix is None:
            raise UserError(f"{searched}: was embedded with the prefix {provenance.prefix!r}, which is not known here")
        return cls(
            model or provenance.model,
            provenance.model_sha256,
            provenance.pool,
            layer,
            prefix,
            provenance.precision,
            provenance.dtype,
            searched,
        )


@dataclass(frozen=True)
class ModelAccess:
    """How a model is loaded, and what to do about letters it does not know."""

    device: str = "auto"
    trust_pickle: bool = False
    offline: bool = False
    unknown: Literal["error", "x"] = "error"
