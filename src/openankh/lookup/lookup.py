"""Proteins to search among: the nearest of each query by their embeddings, and what their labels say of it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.lookup.queries import QueryBatch, embedded_queries, identities_in, identities_of, stored_queries
from openankh.lookup.vector_kind import ModelAccess, VectorKind
from openankh.lookup.watching import SILENT, Watcher
from openankh.precision import Precision
from openankh.published import BUNDLED
from openankh.search.agreement import require_comparable, roundings
from openankh.search.answers import Answer, LabelNames, Neighbour
from openankh.search.approximate import MIN_VECTORS, RECALL_AT, ApproximateSearch
from openankh.search.exact import ExactSearch
from openankh.search.identity import Identities, SameProtein
from openankh.search.index_file import make_index, open_index
from openankh.search.labels import LabelColumn, read_labels
from openankh.search.metric import METRICS, Metric
from openankh.search.nearest_pairs import Neighbours
from openankh.search.transfer import LabelTransfer
from openankh.search.vectors import StoreVectors
from openankh.store import EmbeddingStore, Pool
from openankh.store.exported import export_format

if TYPE_CHECKING:
    from openankh.lookup.protein_embedder import ProteinEmbedder

Queries = str | Path | Iterable[str | Record]
_IDS_IN_MEMORY = 5_000_000


class Lookup:
    """Proteins to search among, opened from an embedding store or a FASTA file by `Lookup.open`.

    `store` holds their vectors, `labels` are what is known of them.
    """

    def __init__(
        self,
        vectors: StoreVectors,
        metric: Metric,
        *,
        kind: VectorKind | None = None,
        model_name: str | None = None,
        approximate: bool = False,
        fasta: Path | None = None,
        model: "ProteinEmbedder | None" = None,
        access: ModelAccess | None = None,
        watcher: Watcher = SILENT,
    ) -> None:
        self.store = vectors.store
        self.metric: Metric = metric
        self.labels: tuple[LabelColumn, ...] = ()
        self._vectors = vectors
        self._kind = kind
        self._model_name = model_name
        self._approximate = approximate
        self._fasta = fasta
        self._model = model
        self._access = access or ModelAccess()
        self._watcher = watcher
        self._transfers: dict[int, LabelTransfer] = {}

    @classmethod
    def open(
        cls,
        against: Path | str,
        *,
        labels: Path | str | None = None,
        label_names: Sequence[str] = (),
        metric: Metric = "euclidean",
        approximate: bool = False,
        model: str | None = None,
        pool: Pool | None = None,
        layer: int | None = None,
        precision: Precision = "auto",
        like: VectorKind | None = None,
        access: ModelAccess | None = None,
        cache: Path | str | None = None,
        watcher: Watcher = SILENT,
    ) -> "Lookup":
        """Open a store of pooled embeddings, or embed a FASTA file into one that is kept beside it (or in `cache`).

        `labels`: a table or a FASTA file, see `openankh.search.labels`; with `label_names` alone the labels in the
        headers of the FASTA file searched. `approximate` searches through a faiss index kept beside the store. `model`,
        `pool`, `layer` and `precision` say how a FASTA file is embedded (the bundled model, mean, last layer unless
        said), or `like` does; of a store `layer` chooses among several. Raises UserError for what cannot be searched.
        """
        if metric not in METRICS:
            raise UserError(f"metric {metric!r}: not one of {', '.join(METRICS)}")
        path = Path(against)
        if os.path.isdir(path):
            vectors = StoreVectors(EmbeddingStore.open(path), layer)
            _require_same(vectors, "pool", pool)
            _require_same(vectors, "precision", None if precision == "auto" else precision)
            lookup = cls(vectors, metric, model_name=model, approximate=approximate, access=access, watcher=watcher)
        else:
            _require_fasta(path)
            options = EmbedOptions(pool or "mean", -1 if layer is None else layer, precision=precision)
            kind = like or VectorKind(model or BUNDLED, options)
            lookup = cls._of_fasta(path, kind, metric, approximate, access, cache, watcher)
        lookup._read_labels(labels, label_names)
        return lookup

    @classmethod
    def _of_fasta(
        cls,
        path: Path,
        kind: VectorKind,
        metric: Metric,
        approximate: bool,
        access: ModelAccess | None,
        cache: Path | str | None,
        watcher: Watcher,
    ) -> "Lookup":
        from openankh.lookup.embedded_fasta import embedded_fasta
        from openankh.lookup.protein_embedder import load_protein_embedder

        access = access or ModelAccess()
        model = load_protein_embedder(kind, access)
        store = embedded_fasta(path, model, access, None if cache is None else Path(cache), watcher)
        return cls(
            StoreVectors(store),
            metric,
            kind=kind,
            approximate=approximate,
            fasta=path,
            model=model,
            access=access,
            watcher=watcher,
        )

    def __len__(self) -> int:
        return len(self._vectors)

    @cached_property
    def kind(self) -> VectorKind:
        """How queries become vectors that can be compared with those searched."""
        if self._kind is not None:
            return self._kind
        return VectorKind.of(self.store.provenance, self._vectors.layer, str(self.store.folder), self._model_name)

    @property
    def num_unusable(self) -> int:
        """Proteins whose vectors cannot be compared: not finite, or for cosine zero."""
        return self._search.num_unusable

    def label_names(self, num: int) -> LabelNames:
        """Each kind of label with the names of its levels; `num` neighbours will be asked for."""
        return self._transfer(num).names if self.labels else ()

    def search(self, queries: Queries, num: int = 5, *, exclude_self: bool = False) -> Iterator[Answer]:
        """The `num` nearest proteins of each query, in the order of the queries.

        Queries: a FASTA file (a path, or "-"), an embedding store of the same kind, or sequences or records in a list
        or any other iterable. `exclude_self` leaves out proteins of the query's id or sequence (where only a store is
        at hand, which keeps no sequences: of its length and its very vector). Raises UserError at once for what cannot
        be compared.
        """
        if num < 1:
            raise UserError(f"{num} neighbours: ask for at least 1")
        batches = self._batches(queries)
        return self.search_vectors(batches, num, exclude_self=exclude_self)

    def search_vectors(
        self, batches: Iterable[QueryBatch], num: int, *, exclude_self: bool = False
    ) -> Iterator[Answer]:
        """The same for queries that are vectors already, made as `kind` says."""
        for batch in batches:
            exclusion = SameProtein(batch.identities, self._identities) if exclude_self else None
            yield from self._answered(batch, self._search.search(batch.vectors_QD, num, exclusion))

    def _answered(self, batch: QueryBatch, found: Neighbours) -> Iterator[Answer]:
        transfer = self._transfer(found.places.shape[1]) if self.labels else None
        rows = zip(found.places.tolist(), found.distances.tolist(), found.similarities.tolist(), strict=True)
        for query, (places, distances, similarities) in zip(batch.ids, rows, strict=True):
            neighbours = [
                Neighbour(
                    rank + 1,
                    self._id(place),
                    place,
                    distance,
                    None if np.isnan(similarity) else similarity,
                    transfer.of(place, rank, distance) if transfer else (),
                )
                for rank, (place, distance, similarity) in enumerate(zip(places, distances, similarities, strict=True))
                if place >= 0
            ]
            yield Answer(query, tuple(neighbours))

    def _batches(self, queries: Queries) -> Iterator[QueryBatch]:
        if isinstance(queries, str | Path) and os.path.isdir(queries):
            store = EmbeddingStore.open(queries)
            names = str(queries), str(self.store.folder)
            require_comparable(store.provenance, self.store.provenance, self._vectors.layer, *names)
            for field, here, there in roundings(store.provenance, self.store.provenance):
                self._watcher.note(f"{names[0]} has {field} {here}, {names[1]} {there}: distances tell a little less")
            return stored_queries(StoreVectors(store, self._vectors.layer))
        model = self._loaded_model()
        return embedded_queries(self._records(queries, model), model)

    def _records(self, queries: Queries, model: "ProteinEmbedder") -> Iterable[Record]:
        if isinstance(queries, str | Path):
            from openankh.lookup.embedded_fasta import fasta_reader

            _require_fasta(Path(queries), may_be_stream=True)
            return fasta_reader(queries, model, self._access)
        return map(_record, queries, count(1))

    def _loaded_model(self) -> "ProteinEmbedder":
        """The model that makes vectors as those searched, loaded when it is first needed."""
        if self._model is None:
            from openankh.lookup.protein_embedder import load_protein_embedder

            self._model = load_protein_embedder(self.kind, self._access)
            there = self.store.provenance.precision
            if self._model.embedder.precision != there:
                self._watcher.note(
                    f"queries are computed in {self._model.embedder.precision}, {self.store.folder} was in {there}: "
                    "distances tell a little less"
                )
        return self._model

    @cached_property
    def _search(self) -> ExactSearch | ApproximateSearch:
        if not self._approximate:
            return ExactSearch(self._vectors, self.metric)
        if len(self) < MIN_VECTORS:
            self._watcher.note(f"exact search: {len(self):,} vectors are too few for an index to be of use")
            return ExactSearch(self._vectors, self.metric)
        search = open_index(self._vectors, self.metric) or make_index(self._vectors, self.metric, self._show_building)
        self._watcher.note(
            f"approximate search: {search.facts.recall:.1%} of the {RECALL_AT} nearest are found, measured on proteins "
            f"of {self.store.folder}"
        )
        return search

    def _show_building(self, share: float) -> None:
        self._watcher.progress("building the index", round(100 * share), 100, "per cent")

    @cached_property
    def _identities(self) -> Identities:
        if self._fasta is None:
            return identities_in(self.store)
        from openankh.lookup.embedded_fasta import fasta_reader

        return identities_of(fasta_reader(self._fasta, self._loaded_model(), self._access))

    def _id(self, place: int) -> str:
        return self.store.ids[place] if len(self) <= _IDS_IN_MEMORY else self.store.id(place)

    def _transfer(self, num: int) -> LabelTransfer:
        if num not in self._transfers:
            self._transfers[num] = LabelTransfer(self.labels, self._search, num)
        return self._transfers[num]

    def _read_labels(self, labels: Path | str | None, names: Sequence[str]) -> None:
        source = labels or (self._fasta if names else None)
        if source is not None:
            self.labels = read_labels(source, self.store.ids, names)
        elif names:
            raise UserError(
                f"label {names[0]}: {self.store.folder} is a store and holds no labels; name a table with --labels"
            )


def _require_same(vectors: StoreVectors, field: str, wanted: str | None) -> None:
    """UserError when the store was embedded otherwise than wanted."""
    found = getattr(vectors.store.provenance, field)
    if wanted not in (None, found):
        raise UserError(
            f"{vectors.store.folder}: {field} is {found}, not {wanted}; embed again, or leave out --{field}"
        )


def _require_fasta(path: Path, may_be_stream: bool = False) -> None:
    """UserError for what is surely no FASTA file to read, with what to give instead."""
    if str(path) == "-":
        if may_be_stream:
            return
        raise UserError("what is searched cannot be standard input, for it is read more than once; name a file")
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file or folder; give an embedding store or a FASTA file")
    if os.path.isfile(path):
        with open(path, "rb") as file:
            found = export_format(file.read(8))
        if found:
            raise UserError(f"{path}: an export ({found}); give the store (a folder) or the FASTA file it came from")


def _record(sequence: object, number: int) -> Record:
    """A record as it is, a sequence as a record named by its number, counted from 1."""
    if isinstance(sequence, Record):
        return sequence
    if not isinstance(sequence, str):
        raise UserError(f"query {number}: a {type(sequence).__name__}, neither a text nor a Record")
    return Record(str(number), "", sequence.upper(), number)
