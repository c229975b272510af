"""Predictors behind the server: artifacts by the names they are served under.

A predictor on the very model served reads rows that the engine makes, in batches with everybody's; one that brings an
adapter, or reads another model, runs its own copy.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.lookup.vector_kind import ModelAccess
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import NamedFolder, Settings
from openankh.serve.waiting import Array
from openankh.tasks.artifact import Artifact, load_artifact
from openankh.tasks.predicting import Prediction, Predictions
from openankh.tasks.target_space import Classes, Labels


@dataclass(frozen=True, eq=False)
class _Computed:
    """Rows in the place of an embedder: those that the engine has made of these very records."""

    arrays: Sequence[Array]

    def embed(self, records: Iterable[Record]) -> Iterator[Pair]:
        """Each record with its rows."""
        return zip(records, self.arrays, strict=True)


@dataclass(frozen=True, eq=False)
class ServedPredictor:
    """One predictor. `shared`: how the engine makes its rows; None where it has a model of its own, `own`."""

    artifact: Artifact
    shared: EmbedOptions | None
    own: Predictions | None = None
    title: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.artifact.origin.title)

    @classmethod
    def load(cls, folder: NamedFolder, model: ModelHost, settings: Settings) -> "ServedPredictor":
        """Open an artifact. Raises UserError where it or its model cannot be had."""
        artifact = load_artifact(folder.folder)
        pre = artifact.preprocessing
        if artifact.adapter is None and pre.model_sha256 == model.loaded.sha256:
            artifact.predictor.to(model.loaded.device).eval()
            return cls(artifact, model.completed(pre.options))
        access = ModelAccess(settings.device, settings.trust_pickle, settings.offline)
        return cls(artifact, None, Predictions.load(artifact, access))

    @property
    def unit(self) -> str:
        """What a prediction is of: protein, residue or pair."""
        return self.artifact.config.unit

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes or labels, in the order of the probabilities."""
        space = self.artifact.space
        return space.names if isinstance(space, Classes | Labels) else ()

    def predict(self, records: Sequence[Record], arrays: Sequence[Array] | None) -> Iterator[Prediction]:
        """A prediction of every record, in order; `arrays` are their rows where the engine made them."""
        if arrays is None:
            assert self.own is not None
            return self.own.predict(records)
        return Predictions(self.artifact, cast(Embedder, _Computed(arrays))).predict(records)
