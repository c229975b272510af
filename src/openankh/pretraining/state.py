"""The state of a training run, all that the next step depends on, as tensors and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from openankh.errors import UserError
from openankh.pretraining.optimisers import Optimiser
from openankh.pretraining.ranks import ALONE, Ranks
from openankh.pretraining.sharding import gathered_on_first, put


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
    ranks: Ranks = ALONE,
) -> TrainingState:
    """Copy a run's state to the CPU of the first rank; what others get has no tensors, but all have to ask for it."""
    weights = gathered_on_first(_weights(model), ranks.is_first)
    state = gathered_on_first(optimiser.tensors(), ranks.is_first)
    return TrainingState(step, weights, state, random_state(), dict(facts), dict(texts or {}))


@torch.no_grad()
def restore(state: TrainingState, model: nn.Module, optimiser: Optimiser, ranks: Ranks = ALONE) -> None:
    """Put a state's weights, optimiser and random numbers back, bit by bit; UserError when it is of another model.

    Only the first rank's tensors are looked at; they are passed on one by one, and each rank keeps what it holds.
    """
    weights = _weights(model)
    with ranks.together():
        if ranks.is_first:
            _check_model(state, weights)
            optimiser.check_state(state.optimiser)
    _put_all(optimiser.tensors(), state.optimiser, ranks)
    _put_all(weights, state.model, ranks)
    restore_random_state(ranks.tensors_of_first(state.random))


@torch.no_grad()
def begin_with(weights: Mapping[str, Tensor], model: nn.Module, ranks: Ranks = ALONE) -> None:
    """Put the first rank's weights, which are of the same model, in the place of those there are."""
    _put_all(_weights(model), weights, ranks)


def _check_model(state: TrainingState, weights: Mapping[str, Tensor]) -> None:
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


def _put_all(live: Mapping[str, Tensor], saved: Mapping[str, Tensor], ranks: Ranks) -> None:
    for name, tensor in live.items():
        put(tensor, ranks.tensor_of_first(saved.get(name), tensor.dtype, tensor.shape))


def state_of_first(state: TrainingState | None, ranks: Ranks) -> TrainingState | None:
    """The first rank's state, or None, on all ranks: without its tensors, which `restore` passes on."""
    if ranks.size == 1:
        return state
    told = ranks.told_by_first(state and {"step": state.step, "facts": state.facts, "texts": state.texts})
    if told is None or ranks.is_first:
        return state
    return TrainingState(told["step"], {}, {}, {}, facts=told["facts"], texts=told["texts"])


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
