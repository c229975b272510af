"""Made-up vectors, stores and a plain float64 search to compare with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding_samples import provenance
from openankh.search.metric import Metric
from openankh.store import Dtype, Embedding, EmbeddingStore, ShardLimits
from openankh.store.writer import writing_store


def families(num: int, width: int, seed: int = 0, members: int = 8, common: float = 3.0) -> NDArray[np.float32]:
    """Vectors in families around centres, all with a large part in common, as embeddings have it."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((num // members + 1, width))
    vectors = centres[np.arange(num) // members] + 0.3 * generator.standard_normal((num, width))
    return (vectors + common * generator.standard_normal(width)).astype(np.float32)


def plain_nearest(
    queries_QD: NDArray[np.floating], vectors_ND: NDArray[np.floating], num: int, metric: Metric
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Places and distances of the nearest, by float64 arithmetic on every pair; equal ones in order of place."""
    queries, vectors = queries_QD.astype(np.float64), vectors_ND.astype(np.float64)
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = np.sqrt(np.square(queries[:, None] - vectors[None]).sum(axis=2))
    if metric == "cosine":
        distances = distances**2 / 2
    places = np.argsort(distances, axis=1, kind="stable")[:, :num]
    return places, np.take_along_axis(distances, places, axis=1)


def write_vectors(
    folder: Path,
    vectors: NDArray[np.floating],
    ids: Sequence[str] = (),
    dtype: Dtype = "fp32",
    shard_residues: int = 400,
    **changes: object,
) -> EmbeddingStore:
    """A mean-pooled store of these vectors (N, D) or (N, K, D), in several shards; protein n has n % 90 + 10
    residues.
    """
    of = provenance("mean", dtype, **{"width": vectors.shape[-1], **changes})
    names = ids or [f"P{number}" for number in range(len(vectors))]
    with writing_store(folder, of, limits=ShardLimits(num_residues=shard_residues)) as writer:
        for start in range(0, len(vectors), 7):
            batch = zip(names[start : start + 7], vectors[start : start + 7], strict=True)
            writer.write([Embedding(name, (start + at) % 90 + 10, row) for at, (name, row) in enumerate(batch)])
        writer.finish("a" * 64)
    return EmbeddingStore.open(folder)
