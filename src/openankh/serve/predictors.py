"""Predictors behind the server: artifacts by the names they are served under.

A predictor on the very model served reads rows that the engine makes, in batches with everybody's; one that was trained
together with its encoder, reads attention maps, or another model, runs by itself. Those of the package that read the
model served are there without being named.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.json_file import read_json_object
from openankh.lookup.vector_kind import ModelAccess
from openankh.serve.model_host import ModelHost
from openankh.serve.settings import NamedFolder, Settings
from openankh.serve.waiting import Array
from openankh.tasks.artifact import DESCRIPTION, Artifact, load_artifact
from openankh.tasks.predicting import Prediction, Predictions
from openankh.tasks.shipped import predictor_folder, shipped_names
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
        artifact = load_artifact(predictor_folder(folder.folder))
        pre, is_same = artifact.preprocessing, artifact.preprocessing.model_sha256 == model.loaded.sha256
        if is_same and artifact.adapter is None and not artifact.encoder_sha256 and pre.reads == "states":
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


def served_predictors(model: ModelHost, settings: Settings) -> dict[str, ServedPredictor]:
    """Those that the operator named, and those of the package that read the model served."""
    named = {each.name: ServedPredictor.load(each, model, settings) for each in settings.predictors}
    shipped = (NamedFolder(name, Path(name)) for name in shipped_names() if name not in named)
    more = {each.name: each for each in shipped if _reads(each, model)}
    return named | {name: ServedPredictor.load(each, model, settings) for name, each in more.items()}


def _reads(shipped: NamedFolder, model: ModelHost) -> bool:
    facts = read_json_object(predictor_folder(shipped.folder) / DESCRIPTION)
    return facts["preprocessing"]["model_sha256"] == model.loaded.sha256
