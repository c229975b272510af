"""Made-up embeddings for tests of the store and the exports."""

import numpy as np

from openankh.store import Dtype, Embedding, Pool, Provenance

WIDTH = 6


def provenance(pool: Pool = "residues", dtype: Dtype = "fp32", **changes: object) -> Provenance:
    """A provenance of the given pooling and type."""
    fields = {
        "input_sha256": "a" * 64,
        "model": "tiny",
        "model_sha256": "b" * 64,
        "precision": "fp32",
        "dtype": dtype,
        "states": "encoder",
        "layers": (4,),
        "pool": pool,
        "prefix": "[NLU]",
        "width": WIDTH,
    }
    return Provenance(**{**fields, **changes})  # type: ignore[arg-type]


def embeddings(ids: list[str], of: Provenance, seed: int = 0) -> list[Embedding]:
    """One embedding an id, of lengths 1 to 9, exactly representable in the provenance's type."""
    generator = np.random.default_rng(seed)
    made = []
    for protein_id in ids:
        length = int(generator.integers(1, 10))
        values = generator.integers(-100, 100, of.shape_of(length)).astype(np.float32) / 8
        made.append(Embedding(protein_id, length, values.astype(np.float16) if of.dtype == "fp16" else values))
    return made
