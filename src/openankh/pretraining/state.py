"""The state of a training run, all that the next step depends on, as tensors and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from openankh.errors import UserError
from openankh.pretraining.optimisers import Optimiser
from openankh.pretraining.ranks import Ranks


@dataclass(frozen=True)
class TrainingState:
    """A copy of a run after `step` updates; nothing that training does later changes it.

    `facts` is what the loop keeps in JSON: its place in the corpus, the step plan, time spent, what the run was begun
    with. `texts` are small files kept beside the weights (file name to content), such as `config.json`.
    """

    step: int
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    texts: Mapping[str, str] = field(default_factory=dict)


def snapshot(
    model: nn.Module,
    optimiser: Optimiser,
    step: int,
    facts: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> TrainingState:
    """Copy a run's state to the CPU."""
    weights = {name: _copy(tensor) for name, tensor in _weights(model).items()}
    return TrainingState(step, weights, optimiser.export_state(), random_state(), dict(facts), dict(texts or {}))


@torch.no_grad()
def restore(state: TrainingState, model: nn.Module, optimiser: Optimiser) -> None:
    """Put a state's weights, optimiser and random numbers back, bit by bit; UserError when it is of another model."""
    weights = _weights(model)
    if foreign := sorted(weights.keys() ^ state.model.keys()):
        raise UserError(
            f"the checkpoint of step {state.step} is of another model: {foreign[0]!r} is "
            f"{'missing' if foreign[0] in weights else 'unknown'}; resume with the recipe that began the run"
        )
    for name, tensor in weights.items():
        saved = state.model[name]
        if (saved.shape, saved.dtype) != (tensor.shape, tensor.dtype):
            raise UserError(
                f"the checkpoint of step {state.step} is of another model: {name!r} is {saved.dtype} "
                f"{tuple(saved.shape)}, expected {tensor.dtype} {tuple(tensor.shape)}; resume with the recipe that "
                "began the run"
            )
    optimiser.import_state(state.optimiser)
    for name, tensor in weights.items():
        tensor.copy_(state.model[name])
    restore_random_state(state.random)


def state_of_first(state: TrainingState | None, ranks: Ranks) -> TrainingState | None:
    """The first rank's state, or None, on all ranks."""
    if ranks.size == 1:
        return state
    told = ranks.told_by_first(state and {"step": state.step, "facts": state.facts, "texts": state.texts})
    if told is None:
        return None
    parts = {part: ranks.tensors_of_first(getattr(state, part, {})) for part in ("model", "optimiser", "random")}
    return TrainingState(told["step"], **parts, facts=told["facts"], texts=told["texts"])


def random_state() -> dict[str, Tensor]:
    """The states of torch's global generators, by device."""
    devices = {f"cuda:{index}": torch.cuda.get_rng_state(index) for index in range(_num_gpus())}
    return {"cpu": torch.get_rng_state(), **devices}


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Set torch's global generators; a GPU that this machine lacks is passed over."""
    torch.set_rng_state(state["cpu"].clone())
    for index in range(_num_gpus()):
        if f"cuda:{index}" in state:
            torch.cuda.set_rng_state(state[f"cuda:{index}"].clone(), index)


def _num_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_initialized() else 0


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, a tied one once."""
    owned = model.state_dict(keep_vars=True)
    seen: dict[int, str] = {}
    for name, tensor in owned.items():
        seen.setdefault(id(tensor), name)
    return {name: owned[name] for name in seen.values()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
