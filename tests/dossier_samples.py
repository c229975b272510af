"""A tiny model, untrained predictors on it and proteins, for tests of dossiers and of the page."""

from pathlib import Path

import torch

from embedding_models import tiny_model
from openankh.checkpoint import save_model
from openankh.dossier.sources import Annotated, Sources
from openankh.embedding.options import EmbedOptions
from openankh.embedding.run import ModelIdentity
from openankh.fasta import Record
from openankh.loaded import LoadedModel, load
from openankh.lookup.lookup import Lookup
from openankh.lookup.protein_embedder import ProteinEmbedder
from openankh.provenance import Provenance
from openankh.tasks.artifact import Artifact, Origin
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.heads.head import HeadConfig
from openankh.tasks.predicting import Predictions
from openankh.tasks.predictor import Predictor
from openankh.tasks.target_space import Classes, Contacts, Numbers, TargetSpace
from openankh.tasks.task import Unit
from openankh.vocab import openankh_vocab

SEQUENCES = ("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV", "GSHMASMTGGQQMGRGSEFELRRQACGRTRAPPPPPLRSGC", "MVLSPADKTNVKAAW")


def records(sequences: tuple[str, ...] = SEQUENCES) -> list[Record]:
    """Proteins with headers that tell a label."""
    return [
        Record(f"P{n}", f"protein {n} colour=c{n % 2}", text, 2 * n - 1) for n, text in enumerate(sequences, start=1)
    ]


def loaded_model(folder: Path) -> LoadedModel:
    """A model of 24 numbers a residue, saved and loaded."""
    vocab = openankh_vocab()
    save_model(tiny_model(vocab), vocab, folder / "tiny", Provenance("tiny", "CC0-1.0"))
    return load(folder / "tiny", offline=True)


def predictor(loaded: LoadedModel, task: str, title: str, unit: Unit, space: TargetSpace) -> Predictions:
    """A head with the weights it was born with."""
    embedder = loaded.embedder(EmbedOptions("residues"))
    width = loaded.model.config.d_model
    torch.manual_seed(0)
    made = Predictor(HeadConfig("linear", unit, width, space.num_outputs, pool="mean"), space).eval()
    identity = ModelIdentity(loaded.pinned_name, loaded.sha256)
    return Predictions(
        Artifact(made, Preprocessing.of(ProteinEmbedder(embedder, identity)), Origin(task, title), {}), embedder
    )


def predictors(loaded: LoadedModel) -> list[Predictions]:
    """One of each kind that the page shows."""
    return [
        predictor(loaded, "secondary-structure", "Secondary structure", "residue", Classes(("H", "E", "C"))),
        predictor(loaded, "localisation", "Localisation", "protein", Classes(("nucleus", "cytoplasm", "outside"))),
        predictor(loaded, "melting", "Melting point", "protein", Numbers(50.0, 5.0)),
        predictor(loaded, "contact", "Contacts", "pair", Contacts()),
    ]


def annotated(loaded: LoadedModel, folder: Path) -> Annotated:
    """Some proteins to search among, with a family each."""
    fasta = folder / "known.fasta"
    texts = [f">K{n} family=f{n % 2}\n{text}{'ACDEFG'[n]}\n" for n, text in enumerate(SEQUENCES * 2)]
    fasta.write_text("".join(texts))
    lookup = Lookup.open(fasta, labels=fasta, label_names=["family"], model=str(loaded.folder))
    return Annotated("6 known proteins", lookup, {"K0": "the first"})


def sources(folder: Path) -> Sources:
    """All of it."""
    loaded = loaded_model(folder)
    return Sources(loaded, annotated(loaded, folder), predictors(loaded))
