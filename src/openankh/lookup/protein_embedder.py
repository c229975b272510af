"""A model made ready to embed the one kind of vector that is searched."""

from dataclasses import dataclass

from openankh.embedding.embedder import Embedder
from openankh.embedding.run import ModelIdentity
from openankh.errors import UserError
from openankh.loaded import load_embedder
from openankh.lookup.vector_kind import ModelAccess, VectorKind


@dataclass(frozen=True, eq=False)
class ProteinEmbedder:
    """The embedder, and which model it runs."""

    embedder: Embedder
    identity: ModelIdentity


def load_protein_embedder(kind: VectorKind, access: ModelAccess) -> ProteinEmbedder:
    """Load the model; UserError when it is another than the one that made what is searched."""
    embedder, loaded = load_embedder(
        kind.model, kind.options, access.device, trust_pickle=access.trust_pickle, offline=access.offline
    )
    if kind.model_sha256 not in (None, loaded.sha256):
        raise UserError(
            f"model {kind.model}: not the one that {kind.searched} was embedded with (model_sha256 differs); "
            "name that one with -m, or embed again"
        )
    return ProteinEmbedder(embedder, ModelIdentity(loaded.pinned_name, loaded.sha256))
