"""What dossiers are made with: a loaded model, the predictors learned on it, and the annotated proteins to search."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from openankh.dossier.predictors import bundled_artifacts, predictors_on
from openankh.embedding.options import EmbedOptions
from openankh.embedding.run import ModelIdentity
from openankh.fasta import FastaReader
from openankh.loaded import LoadedModel
from openankh.lookup.embedded_fasta import embedded_fasta
from openankh.lookup.lookup import Lookup
from openankh.lookup.protein_embedder import ProteinEmbedder
from openankh.lookup.vector_kind import ModelAccess, VectorKind
from openankh.lookup.watching import SILENT, Watcher
from openankh.search.labels import read_labels
from openankh.search.vectors import StoreVectors
from openankh.tasks.predicting import Predictions

LABELS = ("family", "kingdom")
"""What the headers of the bundled proteins tell of each."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """Proteins of which something is known: `name` says which, `descriptions` what their headers tell, by id."""

    name: str
    lookup: Lookup
    descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sources:
    """`annotated` is None where there is nothing to search, `predictors` may be none."""

    loaded: LoadedModel
    annotated: Annotated | None = None
    predictors: Sequence[Predictions] = ()


def bundled_fasta() -> Path:
    """Where the FASTA file of the bundled annotated proteins lies."""
    return Path(str(files("openankh"))) / "data" / "demo.fasta"


def annotated_bundled(loaded: LoadedModel, cache: Path, watcher: Watcher = SILENT) -> Annotated:
    """The bundled proteins with their families, embedded by this model into a store kept in `cache`.

    What `watcher` raises ends the embedding, which the next call goes on with.
    """
    fasta, options = bundled_fasta(), EmbedOptions("mean")
    identity = ModelIdentity(loaded.pinned_name, loaded.sha256)
    model = ProteinEmbedder(loaded.embedder(options), identity)
    store = embedded_fasta(fasta, model, ModelAccess(), cache, watcher)
    kind = VectorKind(loaded.pinned_name, options, loaded.sha256)
    lookup = Lookup(StoreVectors(store), "euclidean", kind=kind, fasta=fasta, model=model)
    lookup.labels = read_labels(fasta, store.ids, LABELS)
    descriptions = {record.id: _before_labels(record.description) for record in FastaReader(fasta)}
    return Annotated(f"{len(store)} bundled proteins of UniProt", lookup, descriptions)


def bundled_sources(loaded: LoadedModel) -> Sources:
    """A model with the predictors and the annotated proteins of the package; their embeddings are kept for later."""
    place = kept_folder()
    place.mkdir(parents=True, exist_ok=True)
    return Sources(loaded, annotated_bundled(loaded, place), predictors_on(loaded, bundled_artifacts()))


def kept_folder() -> Path:
    """Where embeddings of the bundled proteins are kept, and the page's results."""
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "openankh" / "page"


def annotated_store(store: Path, labels: Path | None) -> Annotated:
    """The proteins of an embedding store, with the labels of a table or FASTA file."""
    lookup = Lookup.open(store, labels=labels)
    return Annotated(f"{len(lookup):,} proteins of {store.name}", lookup)


def _before_labels(description: str) -> str:
    return description.partition(" family=")[0]
