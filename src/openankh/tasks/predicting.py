"""An artifact over a stream of proteins: sequences in, predictions with probabilities out, in the same order.

L residues, C classes or labels, N things predicted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.embedder import Embedder
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.loaded import LoadedModel, load_embedder
from openankh.lookup.vector_kind import ModelAccess
from openankh.tasks.artifact import ADAPTER, ENCODER, Artifact, load_artifact
from openankh.tasks.attention_rows import AttentionRows
from openankh.tasks.shipped import predictor_folder
from openankh.tasks.target_space import Classes, Contacts, Labels, Numbers
from openankh.tasks.tuned_encoder import exact_embedder, load_exact, merged_embedder, whole_embedder


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is said of one protein.

    `values`: of classes the most likely one's name, one text or one a residue; of labels those over one half, joined; a
    number; of contacts None. `probabilities`: of each class or label (C,) or (L, C), of each pair (L, L); None of a
    number.
    """

    record: Record
    values: tuple[str, ...] | float | None
    probabilities: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicts with an artifact and the model it was trained on."""

    artifact: Artifact
    embedder: Embedder

    @classmethod
    def load(cls, artifact: Artifact, access: ModelAccess | None = None, model: str | None = None) -> "Predictions":
        """Load the model that the artifact names, or the same one from elsewhere; UserError where it is another."""
        access = access or ModelAccess()
        if model is not None and artifact.encoder_sha256:
            raise UserError(
                f"model {model}: {artifact.folder} brings its own encoder, trained as a whole; leave -m out"
            )
        embedder = _embedder(artifact, model or artifact.preprocessing.model, access)
        artifact.predictor.to(embedder.device).eval()
        return cls(artifact, embedder)

    def predict(self, proteins: Iterable[Record | str]) -> Iterator[Prediction]:
        """A prediction of every protein, in order, in constant memory; each is that of the protein alone.

        Sequences are named by their numbers, from 1. Raises UserError for letters that the model does not know.
        """
        for record, array in self._rows(as_records(proteins)):
            rows_LD = array.astype(np.float32, copy=False)
            outputs = self.artifact.predictor.outputs(rows_LD if rows_LD.ndim > 1 else rows_LD[None])
            yield self._prediction(record, outputs)

    def _rows(self, records: Iterable[Record]) -> Iterable[tuple[Record, NDArray[np.floating]]]:
        """What the head reads of each protein."""
        if self.artifact.preprocessing.reads == "states":
            return self.embedder.embed(records)
        maps = AttentionRows(self.embedder, self.artifact.preprocessing)
        return ((record, maps.rows(record.sequence)) for record in records)

    def _prediction(self, record: Record, outputs: NDArray[np.float32]) -> Prediction:
        space = self.artifact.space
        if isinstance(space, Numbers):
            return Prediction(record, float(outputs.ravel()[0]), None)
        if isinstance(space, Contacts):
            return Prediction(record, None, _sigmoid(outputs))
        if isinstance(space, Labels):
            told_C = _sigmoid(outputs)
            names = [name for name, share in zip(space.names, told_C, strict=True) if share > 0.5]
            return Prediction(record, (space.separator.join(names),), told_C)
        assert isinstance(space, Classes)
        names = tuple(space.names[place] for place in np.atleast_2d(outputs).argmax(axis=1))
        return Prediction(record, names, _softmax(outputs))


def load_predictor(
    name_or_folder: str | Path, access: ModelAccess | None = None, model: str | None = None
) -> Predictions:
    """A predictor of the package by its name, or one that `openankh finetune` wrote, with its model, ready to predict.

    `access` says on which device; `model` where the model is, if it has moved. Raises UserError in one line.
    """
    return Predictions.load(load_artifact(predictor_folder(name_or_folder)), access, model)


def as_records(proteins: Iterable[Record | str]) -> Iterator[Record]:
    """Records as they are, sequences as records named by their numbers."""
    if isinstance(proteins, str):
        raise UserError("one sequence: put it into a list, as in predict([sequence])")
    for number, each in enumerate(proteins, start=1):
        yield Record(str(number), "", each.upper(), number) if isinstance(each, str) else each


def _embedder(artifact: Artifact, model: str, access: ModelAccess) -> Embedder:
    """The model as the artifact needs it, with its adapter merged in if it has one; UserError where it is another."""
    precision = artifact.preprocessing.precision
    if artifact.encoder_sha256:
        return whole_embedder((artifact.folder or Path()) / ENCODER, artifact.encoder_sha256, precision, access)
    if artifact.preprocessing.reads == "attention":
        loaded = load_exact(model, access)
        _require_same(artifact, loaded, model)
        return exact_embedder(loaded)
    if artifact.adapter is None:
        embedder, loaded = load_embedder(
            model,
            artifact.preprocessing.options,
            access.device,
            trust_pickle=access.trust_pickle,
            offline=access.offline,
        )
        _require_same(artifact, loaded, model)
        return embedder
    adapter, place = artifact.adapter, (artifact.folder or Path()) / ADAPTER
    loaded = load_exact(model, access)
    _require_same(artifact, loaded, model)
    return merged_embedder(loaded, dict(adapter.weights), adapter.config, precision, place)


def _require_same(artifact: Artifact, loaded: LoadedModel, model: str) -> None:
    pre, where = artifact.preprocessing, artifact.folder or "the artifact"
    if loaded.sha256 != pre.model_sha256:
        raise UserError(
            f"model {model}: not the one that {where} was trained on ({pre.model}, SHA-256 {pre.model_sha256[:12]}…; "
            f"this one is {loaded.sha256[:12]}…); name that one with -m, or train again"
        )


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logits.astype(np.float64).clip(-500, 500)))).astype(np.float32)


def _softmax(logits_NC: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits_NC.astype(np.float64) - logits_NC.max(axis=-1, keepdims=True)
    shares = np.exp(shifted)
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)
