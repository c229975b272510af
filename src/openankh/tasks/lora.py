"""LoRA: small matrices added to projections of the encoder's attention (arXiv 2106.09685), in PEFT's layout on disk.

R rank, I input width, O output width. A weight W (O, I) becomes W + alpha / R * B A, with A (R, I) and B (O, R).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from openankh.errors import UserError
from openankh.json_file import read_json_object
from openankh.model import Ankh
from openankh.pretraining.tensor_file import write_tensors
from openankh.safetensors_file import SafetensorsFile

PROJECTIONS = ("q", "k", "v", "o")
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_KEY = re.compile(r"base_model\.model\.(encoder\.block\.\d+\.layer\.0\.SelfAttention\.[qkvo])\.lora_([AB])\.weight")


@dataclass(frozen=True)
class LoraConfig:
    """Rank, the weight of what is added (over the rank), and which projections it is added to; as the lab has them."""

    r: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q", "v")

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UserError(f"LoRA r {self.r}: must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise UserError(f"LoRA alpha {self.alpha}: give a number above 0, as 16")
        if not self.targets or not set(self.targets) <= set(PROJECTIONS):
            raise UserError(f"LoRA targets {', '.join(self.targets) or 'none'}: choose among {', '.join(PROJECTIONS)}")

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.r


class Added(nn.Module):
    """What one weight gets added; nothing before it is trained, since B begins at zero."""

    def __init__(self, weight_OI: Tensor, config: LoraConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.A = nn.Parameter(torch.empty(config.r, weight_OI.shape[1], device=weight_OI.device))
        self.B = nn.Parameter(torch.zeros(weight_OI.shape[0], config.r, device=weight_OI.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, weight_OI: Tensor) -> Tensor:
        return weight_OI + ((self.B @ self.A) * self.scale).to(weight_OI.dtype)


def attach(model: Ankh, config: LoraConfig) -> dict[str, Added]:
    """Freeze a model and add to the projections of its encoder; what is to be trained, by the projections' names."""
    model.requires_grad_(False)
    found: dict[str, Added] = {}
    for name, projection in _projections(model, config.targets).items():
        found[name] = Added(projection.weight, config)
        parametrize.register_parametrization(projection, "weight", found[name])
    return found


def merge(model: Ankh, weights: Mapping[str, Tensor], config: LoraConfig) -> None:
    """Add what was learned to the weights of a model that has nothing attached; by the very products of training."""
    with torch.no_grad():
        for name, projection in _projections(model, config.targets).items():
            added = Added(projection.weight, config)
            added.A.copy_(weights[f"{name}.A"])
            added.B.copy_(weights[f"{name}.B"])
            projection.weight.copy_(added(projection.weight))


def detach(model: Ankh, config: LoraConfig) -> None:
    """Take what is attached off again: the model is as it was."""
    for projection in _projections(model, config.targets).values():
        parametrize.remove_parametrizations(projection, "weight", leave_parametrized=False)


def weights_of(added: Mapping[str, Added]) -> dict[str, Tensor]:
    """A and B of each projection, copied to the CPU."""
    return {
        f"{name}.{part}": getattr(each, part).detach().cpu().clone() for name, each in added.items() for part in "AB"
    }


def save_adapter(folder: Path, weights: Mapping[str, Tensor], config: LoraConfig, model: str) -> None:
    """Write the two files that `peft` opens on a T5 encoder with the same weights."""
    folder.mkdir()
    named = {
        f"base_model.model.{name.rpartition('.')[0]}.lora_{name[-1]}.weight": tensor.contiguous()
        for name, tensor in weights.items()
    }
    with open(folder / WEIGHTS, "wb") as file:
        write_tensors(named, file)
    text = json.dumps(_peft_config(config, model), indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def load_adapter(folder: Path, config: LoraConfig) -> dict[str, Tensor]:
    """A and B of each projection; UserError for a file that holds anything else."""
    path = folder / WEIGHTS
    found = read_json_object(folder / CONFIG)
    if (found.get("r"), found.get("lora_alpha")) != (config.r, config.alpha):
        raise UserError(f"{folder / CONFIG}: tells of another r or lora_alpha than the artifact; copy the folder again")
    file = SafetensorsFile(path)
    try:
        weights: dict[str, Tensor] = {}
        for name in file.entries:
            match = _KEY.fullmatch(name)
            if match is None:
                raise UserError(
                    f"{path}: tensor {name[:100]!r} is none of an encoder's attention; copy the folder again"
                )
            weights[f"{match[1]}.{match[2]}"] = file.read(name, torch.float32)
        return weights
    finally:
        file.close()


def require_fit(model: Ankh, weights: Mapping[str, Tensor], config: LoraConfig, path: Path) -> None:
    """Raise UserError unless there is an A and a B of the right shape for each projection, and nothing else."""
    expected = {}
    for name, projection in _projections(model, config.targets).items():
        num_outputs, num_inputs = projection.weight.shape
        expected |= {f"{name}.A": (config.r, num_inputs), f"{name}.B": (num_outputs, config.r)}
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != expected:
        raise UserError(f"{path}: does not fit the model that the artifact names; copy the folder again")


def _projections(model: Ankh, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    """By the names that T5 gives them."""
    return {
        f"encoder.block.{number}.layer.0.SelfAttention.{target}": getattr(block.own.SelfAttention, target)
        for number, block in enumerate(model.encoder.blocks)
        for target in PROJECTIONS
        if target in targets
    }


def _peft_config(config: LoraConfig, model: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": model,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "target_modules": rf"encoder\.block\.\d+\.layer\.0\.SelfAttention\.({'|'.join(config.targets)})",
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "use_rslora": False,
    }
