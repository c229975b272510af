"""Published models from the Hugging Face hub: the local cache first, then a download of the files that are needed."""

from collections.abc import Sequence
from pathlib import Path

from openankh.errors import UserError
from openankh.json_file import read_json_object
from openankh.published import PublishedModel

_SMALL_FILES = ("*.json", "spiece.model")
_SAFE_WEIGHTS = ("model.safetensors", "model-*.safetensors")
_PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin")
_TOKENIZERS = ("tokenizer.json", "spiece.model")


def fetch(model: PublishedModel, *, revision: str | None = None, trust_pickle: bool = False) -> Path:
    """The folder of a published model in the hub's cache on this machine, downloaded when it is not complete there.

    `revision` is a branch, tag or commit (None: the main branch). With `trust_pickle` the pickled weights are fetched
    where there are no others. Raises UserError of one line when the hub cannot be reached, refuses, or has no such
    revision.
    """
    if here := cached(model, revision=revision, trust_pickle=trust_pickle):
        return here
    folder = _download(model, revision, _SAFE_WEIGHTS)
    if not _has_small_files(folder):
        raise UserError(
            f"model {model.name}: {model.hub} lacks a config or a tokenizer; try again, or another revision"
        )
    if _is_complete(folder, _SAFE_WEIGHTS):
        return folder
    if not trust_pickle:
        raise UserError(
            f"model {model.name}: published as a pickle only, a kind of file that can carry code; "
            f"if you trust {model.hub}, ask for it by name (trust_pickle=True, --trust-pickle)"
        )
    folder = _download(model, revision, _PICKLED_WEIGHTS)
    if not _is_complete(folder, _PICKLED_WEIGHTS):
        raise UserError(f"model {model.name}: {model.hub} has no whole set of weights; try again, or another revision")
    return folder


def cached(model: PublishedModel, *, revision: str | None = None, trust_pickle: bool = False) -> Path | None:
    """The folder of a model that is complete in the hub's cache on this machine, else None; asks no network."""
    for patterns in (_SAFE_WEIGHTS, _PICKLED_WEIGHTS)[: 2 if trust_pickle else 1]:
        folder = _cached(model, revision, patterns)
        if folder and _is_complete(folder, patterns):
            return folder
    return None


def _cached(model: PublishedModel, revision: str | None, weights: Sequence[str]) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            model.hub, revision=revision, local_files_only=True, allow_patterns=[*_SMALL_FILES, *weights]
        )
    except (LocalEntryNotFoundError, ValueError):
        return None
    return Path(folder)


def _download(model: PublishedModel, revision: str | None, weights: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.hub, revision=revision, allow_patterns=[*_SMALL_FILES, *weights]))
    except Exception as error:  # the hub's library raises its own, its transport's and the system's errors
        raise _refusal(model, revision, error) from error


def _refusal(model: PublishedModel, revision: str | None, error: Exception) -> UserError:
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        remedy = "it is not on this machine and HF_HUB_OFFLINE is set; unset it, or give the path of the model's folder"
    elif isinstance(error, errors.GatedRepoError):
        remedy = f"accept its terms at https://huggingface.co/{model.hub} and log in (hf auth login)"
    elif isinstance(error, errors.RevisionNotFoundError):
        remedy = f"it has no revision {revision!r}; leave it out for the newest"
    elif isinstance(error, errors.RepositoryNotFoundError):
        remedy = "the hub does not know it, or not for you; check your login (hf auth whoami)"
    elif isinstance(error, OSError) and error.strerror and error.filename:
        remedy = f"{error.strerror.lower()}: {error.filename}; free space or set HF_HOME to another disk"
    else:
        remedy = (
            "the hub could not be reached; check the network, or copy the model's folder here and give its path "
            f"({type(error).__name__}: {' '.join(str(error).split())[:100]})"
        )
    return UserError(f"model {model.name}: cannot fetch {model.hub}: {remedy}")


def _is_complete(folder: Path, weights: Sequence[str]) -> bool:
    """Whether a snapshot has everything `load_model` needs; the cache may hold parts of an interrupted download."""
    if not _has_small_files(folder):
        return False
    index = folder / f"{weights[0]}.index.json"
    if (folder / weights[0]).is_file() or not index.is_file():
        return (folder / weights[0]).is_file()
    weight_map = read_json_object(index).get("weight_map")
    return isinstance(weight_map, dict) and all((folder / str(file)).is_file() for file in weight_map.values())


def _has_small_files(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _TOKENIZERS)
