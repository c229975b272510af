"""Which model made an embedding: its name, for people, and a hash over shape, vocabulary and weights."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from openankh.checkpoint import Checkpoint
from openankh.files import sha256_of


@dataclass(frozen=True)
class ModelIdentity:
    """How a model is called, and the hash that tells it apart from every other."""

    name: str
    sha256: str


def identify(name: str, checkpoint: Checkpoint) -> ModelIdentity:
    """The identity of a model that was loaded from its folder; hashes its files where no manifest does."""
    content = {
        "config": {**asdict(checkpoint.model.config), "num_decoder_layers": 0, "tied_head": False},
        "vocabulary": checkpoint.vocab.fingerprint,
        "weights": _weight_hashes(checkpoint),
    }
    return ModelIdentity(name, hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())


def _weight_hashes(checkpoint: Checkpoint) -> list[str]:
    known = checkpoint.manifest.files if checkpoint.manifest else {}
    return [
        known[path.name].sha256 if path.name in known else sha256_of(path) for path in _weight_files(checkpoint.folder)
    ]


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, as loading chooses them: safetensors, else pickles."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
