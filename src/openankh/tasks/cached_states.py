"""The rows of proteins that an encoder gives, computed once and kept in a store; heads read them from there.

L residues, D model width.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.options import EmbedOptions, Prefix
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.lookup.embedded_fasta import embedded_fasta
from openankh.lookup.protein_embedder import ProteinEmbedder
from openankh.lookup.vector_kind import ModelAccess
from openankh.lookup.watching import SILENT, Watcher
from openankh.precision import Precision
from openankh.store import Dtype, EmbeddingStore, Pool
from openankh.tasks.published_files import cache_folder

STORED: Dtype = "fp16"
"""What rows are kept as: half the room, and closer to what was computed than bf16."""
_PREFIXES: Mapping[str, Prefix] = {"": "none", "[NLU]": "nlu", "[S2S]": "s2s"}


@dataclass(frozen=True)
class Preprocessing:
    """How proteins become the rows that a head reads: which model, and what of it. `prefix` is the piece itself.

    `reads`: the states of a layer, or the attention maps of all layers.
    """

    model: str
    model_sha256: str
    layer: int
    pool: Pool
    prefix: str
    precision: Precision
    dtype: Dtype
    width: int
    reads: Literal["states", "attention"] = "states"

    @classmethod
    def of(cls, model: ProteinEmbedder) -> "Preprocessing":
        """What an embedder of one layer does."""
        embedder = model.embedder
        if len(embedder.layers) != 1:
            raise UserError(f"{len(embedder.layers)} layers: a head reads one; name one layer")
        return cls(
            model.identity.name,
            model.identity.sha256,
            embedder.layers[0],
            embedder.pool,
            embedder.prefix,
            embedder.precision,
            embedder.dtype,
            embedder.model.config.d_model,
        )

    @property
    def options(self) -> EmbedOptions:
        """The options that make the same rows again."""
        if self.prefix not in _PREFIXES:
            raise UserError(f"prefix {self.prefix!r}: is not known here; a newer openankh may know it")
        return EmbedOptions(self.pool, self.layer, self.dtype, _PREFIXES[self.prefix], precision=self.precision)


class RowSource(Protocol):
    """Whatever gives the rows of proteins: an encoder's from a store, or those of a baseline made on the way."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How the rows were made."""
        ...

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The rows (L, D) of a protein, or where they are pooled its one row (1, D)."""
        ...


class CachedStates:
    """Rows of proteins by their sequence, read from a store as they are asked for."""

    def __init__(self, store: EmbeddingStore, place_of: Mapping[str, int], preprocessing: Preprocessing) -> None:
        self.store = store
        self._preprocessing = preprocessing
        self._place_of = place_of

    @property
    def preprocessing(self) -> Preprocessing:
        """How the rows were made."""
        return self._preprocessing

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The rows (L, D) of a protein, of pooled states its one row (1, D)."""
        values = self.store[self._place_of[sequence]].astype(np.float32, copy=False)
        return values if values.ndim == 2 else values[None]


def states_folder() -> Path:
    """Where rows are kept unless a folder is named: beside the data that was fetched."""
    return cache_folder().with_name("states")


def cached_states(
    sequences: Iterable[str], name: str, model: ProteinEmbedder, cache: Path | None = None, watcher: Watcher = SILENT
) -> CachedStates:
    """The rows of all these proteins, from the store in the folder `cache`; what is not there is computed first.

    Equal sequences are computed once. The store is named by `name`, the sequences, the model and the options; a killed
    run goes on where it stopped.
    """
    place_of = {sequence: place for place, sequence in enumerate(dict.fromkeys(sequences))}
    folder = cache or states_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --cache") from None
    fasta = _fasta(place_of, name, folder)
    store = embedded_fasta(fasta, model, ModelAccess(unknown="x"), folder, Watcher(progress=watcher.progress))
    assert len(store) == len(place_of), (len(store), len(place_of))
    return CachedStates(store, place_of, Preprocessing.of(model))


def _fasta(place_of: Mapping[str, int], name: str, folder: Path) -> Path:
    """The file of the sequences, each named by its place; written once."""
    text = "".join(f">{place}\n{sequence}\n" for sequence, place in place_of.items()).encode()
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_" for letter in name)
    path = folder / f"{plain[:60]}-{hashlib.sha256(text).hexdigest()[:16]}.fasta"
    if not path.is_file() or path.stat().st_size != len(text):
        write_file_atomically(path, text)
    return path
