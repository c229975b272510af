"""A trained predictor as a folder: weights, label names, preprocessing, the base model and its hash, metrics, card.

`head.safetensors` holds the weights, `artifact.json` all else that predictions depend on, `metrics.json` how good they
were, `README.md` the card, `adapter/` what LoRA adds to the model, in PEFT's layout, `encoder/` the encoder where all
of it was trained, a model's folder. Nothing in it can run code.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh import __version__
from openankh.embedding.embedder import Embedder
from openankh.errors import UserError
from openankh.files import atomic_folder, sha256_of
from openankh.json_file import read_json_object
from openankh.pretraining.tensor_file import write_tensors
from openankh.safetensors_file import SafetensorsFile
from openankh.tasks.artifact_card import card
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.heads.convbert import ConvBertConfig
from openankh.tasks.heads.head import HeadConfig
from openankh.tasks.lora import WEIGHTS as LORA_WEIGHTS
from openankh.tasks.lora import LoraConfig, load_adapter, save_adapter
from openankh.tasks.predictor import Predictor
from openankh.tasks.space_json import space_from_json, space_to_json
from openankh.tasks.target_space import TargetSpace
from openankh.tasks.tuned_encoder import save_whole

FORMAT, VERSION = "openankh-predictor", 1
WEIGHTS, DESCRIPTION, METRICS, CARD = "head.safetensors", "artifact.json", "metrics.json", "README.md"
ADAPTER, ENCODER = "adapter", "encoder"


@dataclass(frozen=True)
class Origin:
    """What was learned, from what, and how: for people, and to do it again.

    `baselines`: what predictors that know less came to on the same proteins, {name: {split: {metric: interval}}}.
    """

    task: str
    title: str
    citation: str = ""
    data_sha256: str = ""
    splits: Mapping[str, int] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    baselines: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Adapter:
    """What was learned beside the head and is added to the model's weights: LoRA's matrices, by name."""

    config: LoraConfig
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Artifact:
    """A predictor, with all that turns sequences into its predictions; `metrics` are {split: {metric: interval}}.

    `encoder` is what is to be written where the whole encoder was trained; `encoder_sha256` tells it after that.
    """

    predictor: Predictor
    preprocessing: Preprocessing
    origin: Origin
    metrics: Mapping[str, Any]
    folder: Path | None = None
    adapter: Adapter | None = None
    encoder: Embedder | None = None
    encoder_sha256: str = ""

    @property
    def config(self) -> HeadConfig:
        """The head's shape."""
        return self.predictor.config

    @property
    def space(self) -> TargetSpace:
        """What it predicts."""
        return self.predictor.space


def is_artifact(path: Path | str) -> bool:
    """Whether a folder says that it is one."""
    return (Path(path) / DESCRIPTION).is_file() and (Path(path) / WEIGHTS).is_file()


def save_artifact(
    artifact: Artifact,
    folder: Path,
    probes: tuple[NDArray[np.float32], ...],
    check: Callable[[Artifact], None] = lambda reloaded: None,
) -> None:
    """Write an artifact, open it again, and put it in place only if it says the very same, bit for bit.

    `probes` are rows (L, D) of some proteins, of which both say their logits; `check` may try what was read back
    further, and raises for what is not right.
    """
    with atomic_folder(folder) as draft:
        with open(draft / WEIGHTS, "wb") as file:
            sha256 = write_tensors({name: _narrow(each) for name, each in artifact.predictor.weights().items()}, file)
        facts = _facts(artifact, sha256)
        if artifact.adapter:
            pre = artifact.preprocessing
            save_adapter(draft / ADAPTER, artifact.adapter.weights, artifact.adapter.config, pre.model)
            facts["lora"] = {**asdict(artifact.adapter.config), "sha256": sha256_of(draft / ADAPTER / LORA_WEIGHTS)}
        if artifact.encoder:
            pre = artifact.preprocessing
            facts["encoder"] = {"sha256": save_whole(artifact.encoder, draft / ENCODER, f"{pre.model}, fine-tuned")}
        (draft / DESCRIPTION).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (draft / METRICS).write_text(json.dumps(artifact.metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (draft / CARD).write_text(card(folder.name, facts, artifact.metrics), encoding="utf-8")
        reloaded = load_artifact(draft)
        require_same_logits(artifact.predictor, reloaded.predictor, probes)
        check(reloaded)


def require_same_logits(trained: Predictor, reloaded: Predictor, probes: tuple[NDArray[np.float32], ...]) -> None:
    """Raise UserError unless both give the same bits for every protein."""
    device = trained.mean_D.device
    for rows_LD in probes:
        require_same_rows(trained.outputs(rows_LD), reloaded.to(device).outputs(rows_LD))


def require_same_rows(trained: NDArray[np.float32], reloaded: NDArray[np.float32]) -> None:
    """Raise UserError unless both are the same bits."""
    if trained.tobytes() != reloaded.tobytes():
        raise UserError(
            "the artifact read back does not give the numbers of what was trained, so it was not kept; check the disk "
            "and memory of this machine, and train again"
        )


def load_artifact(folder: Path | str) -> Artifact:
    """Open an artifact, ready to predict on the CPU; UserError in one line for what is none, or damaged."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such artifact; give a folder that `openankh finetune` wrote")
    if not (folder / DESCRIPTION).is_file():
        raise UserError(
            f"{folder}: no artifact (it has no {DESCRIPTION}); give a folder that `openankh finetune` wrote"
        )
    facts = read_json_object(folder / DESCRIPTION)
    if facts.get("format") != FORMAT or facts.get("version") != VERSION:
        found = f"{str(facts.get('format'))[:40]} {str(facts.get('version'))[:10]}"
        raise UserError(f"{folder / DESCRIPTION}: is {found}, where {FORMAT} {VERSION} is read; use a newer openankh")
    try:
        predictor = Predictor(_head_config(facts["head"]), space_from_json(facts["target"]))
        preprocessing = Preprocessing(**facts["preprocessing"])
        origin = Origin(**{**facts["origin"], "notes": tuple(facts["origin"].get("notes", ()))})
        sha256 = str(facts["weights_sha256"])
        lora = _lora_config(facts["lora"]) if "lora" in facts else None
        encoder_sha256 = str(facts["encoder"]["sha256"]) if "encoder" in facts else ""
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        line = " ".join(str(error).split())[:100]
        raise UserError(
            f"{folder / DESCRIPTION}: damaged ({type(error).__name__}: {line}); train or copy it again"
        ) from None
    _load_weights(predictor, folder / WEIGHTS, sha256)
    metrics = read_json_object(folder / METRICS) if (folder / METRICS).is_file() else {}
    adapter = _adapter(folder / ADAPTER, lora, facts["lora"]["sha256"]) if lora else None
    return Artifact(predictor.eval(), preprocessing, origin, metrics, folder, adapter, None, encoder_sha256)


def _narrow(tensor: Tensor) -> Tensor:
    """The same numbers in half the room, where they all fit fp16 exactly."""
    half = tensor.half()
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def _facts(artifact: Artifact, weights_sha256: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "openankh": __version__,
        "head": asdict(artifact.config),
        "target": space_to_json(artifact.space),
        "preprocessing": asdict(artifact.preprocessing),
        "origin": asdict(artifact.origin),
        "weights_sha256": weights_sha256,
    }


def _head_config(found: Mapping[str, Any]) -> HeadConfig:
    return HeadConfig(**{**found, "convbert": ConvBertConfig(**found["convbert"])})


def _lora_config(found: Mapping[str, Any]) -> LoraConfig:
    assert isinstance(found["sha256"], str)
    return LoraConfig(found["r"], found["alpha"], tuple(found["targets"]))


def _adapter(folder: Path, config: LoraConfig, sha256: str) -> Adapter:
    weights = load_adapter(folder, config)
    if sha256_of(folder / LORA_WEIGHTS) != sha256:
        raise UserError(f"{folder / LORA_WEIGHTS}: is not the file that was written (SHA-256 differs); copy it again")
    return Adapter(config, weights)


def _load_weights(predictor: Predictor, path: Path, sha256: str) -> None:
    file = SafetensorsFile(path)
    try:
        state, expected = predictor.state_dict(), predictor.weights()
        shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
        if {name: entry.shape for name, entry in file.entries.items()} != shapes:
            raise UserError(f"{path}: does not hold the head that {DESCRIPTION} tells of; copy the whole folder again")
        if sha256_of(path) != sha256:
            raise UserError(f"{path}: is not the file that was written (SHA-256 differs); copy the folder again")
        predictor.load_state_dict({**state, **{name: file.read(name, expected[name].dtype) for name in shapes}})
    finally:
        file.close()
