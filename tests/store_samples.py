"""Small embedding stores on disk for tests."""

from collections.abc import Sequence
from pathlib import Path

from embedding_samples import embeddings, provenance
from openankh.store import Embedding, EmbeddingStore, Provenance, ShardLimits
from openankh.store.writer import writing_store

SMALL_SHARDS = ShardLimits(num_residues=12)


def write_store(
    folder: Path,
    ids: Sequence[str],
    of: Provenance | None = None,
    *,
    seed: int = 0,
    limits: ShardLimits = SMALL_SHARDS,
    batch: int = 2,
) -> list[Embedding]:
    """Write a store of made-up embeddings of these ids; returns what is in it."""
    of = provenance() if of is None else of
    made = embeddings(list(ids), of, seed)
    with writing_store(folder, of, limits=limits) as writer:
        for start in range(0, len(made), batch):
            writer.write(made[start : start + batch])
        writer.finish(of.input_sha256 or "a" * 64)
    return made


def store_of(folder: Path, ids: Sequence[str], of: Provenance | None = None) -> EmbeddingStore:
    """A store of made-up embeddings, opened."""
    write_store(folder, ids, of)
    return EmbeddingStore.open(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip_bit(path: Path, place: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
