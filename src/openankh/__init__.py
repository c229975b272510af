"""OpenAnkh: pre-train, run and use the Ankh protein language models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openankh.config import ModelConfig as ModelConfig
    from openankh.corpus import Corpus as Corpus
    from openankh.errors import UserError as UserError
    from openankh.fasta import FastaReader as FastaReader
    from openankh.fasta import ReadOptions as ReadOptions
    from openankh.fasta import Record as Record
    from openankh.loaded import LoadedModel as LoadedModel
    from openankh.loaded import load as load
    from openankh.lookup.lookup import Lookup as Lookup
    from openankh.mutation import Mutation as Mutation
    from openankh.mutation import parse_mutations as parse_mutations
    from openankh.store import EmbeddingStore as EmbeddingStore
    from openankh.store import open_store as open_store
    from openankh.tasks.predicting import load_predictor as load_predictor
    from openankh.vocab import Vocab as Vocab

__version__ = "0.1.0"

# Names are fetched when first used, so that `import openankh` and `openankh --help` stay free of torch and numpy.
_HOMES = {
    "Corpus": "openankh.corpus",
    "EmbeddingStore": "openankh.store",
    "FastaReader": "openankh.fasta",
    "LoadedModel": "openankh.loaded",
    "Lookup": "openankh.lookup.lookup",
    "ModelConfig": "openankh.config",
    "Mutation": "openankh.mutation",
    "ReadOptions": "openankh.fasta",
    "Record": "openankh.fasta",
    "UserError": "openankh.errors",
    "Vocab": "openankh.vocab",
    "load": "openankh.loaded",
    "load_predictor": "openankh.tasks.predicting",
    "open_store": "openankh.store",
    "parse_mutations": "openankh.mutation",
}

__all__ = [  # noqa: RUF022  (sorted as _HOMES is; the version last)
    "Corpus",
    "EmbeddingStore",
    "FastaReader",
    "LoadedModel",
    "Lookup",
    "ModelConfig",
    "Mutation",
    "ReadOptions",
    "Record",
    "UserError",
    "Vocab",
    "load",
    "load_predictor",
    "open_store",
    "parse_mutations",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'openankh' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
