"""Embeddings on disk: the native store (safetensors shards and a manifest), and HDF5, Parquet and NPZ files."""

from openankh.lock import sole_writer
from openankh.store.journal import ShardLimits
from openankh.store.output import Embedding, Output
from openankh.store.provenance import DTYPES, POOLS, RESULTS, STATES, Dtype, Pool, Provenance, States
from openankh.store.reader import EmbeddingStore, open_store
from openankh.store.target import Target, num_unfinished, parse_target, require_room

__all__ = [
    "DTYPES",
    "POOLS",
    "RESULTS",
    "STATES",
    "Dtype",
    "Embedding",
    "EmbeddingStore",
    "Output",
    "Pool",
    "Provenance",
    "ShardLimits",
    "States",
    "Target",
    "num_unfinished",
    "open_store",
    "parse_target",
    "require_room",
    "sole_writer",
]
