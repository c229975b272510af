"""Proteins to search among behind the server, by the names they are served under."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.lookup.lookup import Lookup
from openankh.lookup.queries import QueryBatch, identities_of
from openankh.lookup.vector_kind import ModelAccess
from openankh.search.answers import Answer
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import NamedFolder, Settings
from openankh.serve.waiting import Array


@dataclass(frozen=True, eq=False)
class ServedProteins:
    """Proteins to search among; `options` say how the engine makes vectors that compare with theirs."""

    lookup: Lookup
    options: EmbedOptions

    @classmethod
    def open(cls, named: NamedFolder, model: ModelHost, settings: Settings) -> "ServedProteins":
        """Open a store, or embed a FASTA file into one. Raises UserError for vectors of another model."""
        access = ModelAccess(settings.device, settings.trust_pickle, settings.offline, unknown="x")
        is_store = named.folder.is_dir()
        lookup = Lookup.open(
            named.folder, labels=named.labels, model=None if is_store else settings.model, access=access
        )
        if lookup.store.provenance.model_sha256 != model.loaded.sha256:
            raise UserError(
                f"{named.folder}: was embedded with {lookup.store.provenance.model}, and {model.name} is served; embed "
                "it again, or serve that model"
            )
        return cls(lookup, model.completed(lookup.kind.options))

    @property
    def num_proteins(self) -> int:
        """How many there are."""
        return len(self.lookup)

    @property
    def labels(self) -> tuple[str, ...]:
        """What is known of them."""
        return tuple(column.name for column in self.lookup.labels)

    def search(self, records: Sequence[Record], arrays: Sequence[Array], num: int, exclude_self: bool) -> list[Answer]:
        """The nearest of each record, whose vectors the engine has made."""
        batch = QueryBatch(tuple(each.id for each in records), np.stack(arrays), identities_of(records))
        return list(self.lookup.search_vectors([batch], num, exclude_self=exclude_self))
