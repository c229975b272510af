"""The predictors that dossiers ask: those of the package, and a user's own, that read the very model at hand."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from openankh.loaded import LoadedModel
from openankh.tasks.artifact import Artifact, is_artifact, load_artifact
from openankh.tasks.predicting import Predictions

_FIRST = ("secondary-structure", "localisation", "solubility", "contact")
"""What comes first on a page, where it is there."""


def bundled_artifacts() -> Sequence[Artifact]:
    """The predictors that come with the package, the most asked for first."""
    folder = Path(str(files("openankh"))) / "bundled" / "predictors"
    found = [place for place in folder.iterdir() if is_artifact(place)] if folder.is_dir() else []
    return [load_artifact(place) for place in sorted(found, key=_order)]


def predictors_on(loaded: LoadedModel, artifacts: Iterable[Artifact]) -> tuple[Predictions, ...]:
    """Those that read this very model as it is, each once, ready to predict; all others are left out."""
    different = {each.folder.resolve() if each.folder else number: each for number, each in enumerate(artifacts)}
    fitting = [each for each in different.values() if _reads(each, loaded)]
    for each in fitting:
        each.predictor.to(loaded.device).eval()
    return tuple(Predictions(each, loaded.embedder(each.preprocessing.options)) for each in fitting)


def _reads(artifact: Artifact, loaded: LoadedModel) -> bool:
    brings_its_own = artifact.adapter is not None or artifact.encoder_sha256 != ""
    return not brings_its_own and artifact.preprocessing.model_sha256 == loaded.sha256


def _order(folder: Path) -> tuple[int, str]:
    place = next((number for number, name in enumerate(_FIRST) if folder.name.startswith(name)), len(_FIRST))
    return place, folder.name
