"""The optimisers a recipe can name, and which parameters of a T5 each of their rules updates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from openankh.errors import UserError
from openankh.pretraining.adafactor import Adafactor
from openankh.pretraining.adamw import AdamW
from openankh.pretraining.muon import Muon
from openankh.pretraining.sharding import HeldParameter, gathered_on_first, joint_norm, put

OptimiserName = Literal["adafactor", "adamw", "muon"]
OPTIMISER_NAMES: tuple[OptimiserName, ...] = ("adafactor", "adamw", "muon")


@dataclass(frozen=True)
class OptimiserSettings:
    """An optimiser as a value.

    `learning_rate` is the peak, which the schedule's factor multiplies; under "muon" it serves what is not a matrix
    inside a block (embeddings, head, norms, bias tables), and `matrix_learning_rate` serves the matrices; queries and
    the keys of cross-attention take `query_rate` of it: T5 does not scale attention, so that small changes count much.
    `weight_decay` touches the matrices inside the blocks and nothing else.
    "adamw" and "muon" use `betas` and `eps`; "muon" `momentum` and `num_newton_schulz`; "adafactor" the rest.
    """

    name: OptimiserName = "adafactor"
    learning_rate: float = 4e-3
    matrix_learning_rate: float = 0.02
    query_rate: float = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    momentum: float = 0.95
    num_newton_schulz: int = 5
    decay_exponent: float = 0.8
    clip_update: float = 1.0
    parameter_scale: bool = True
    relative_step: bool = False
    beta1: float | None = None

    def __post_init__(self) -> None:
        if self.name not in OPTIMISER_NAMES:
            raise UserError(f"optimiser {self.name!r} is unknown: choose one of {', '.join(OPTIMISER_NAMES)}")
        for name in ("learning_rate", "matrix_learning_rate", "query_rate", "eps", "decay_exponent", "clip_update"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"optimiser setting {name} is {getattr(self, name)}: give a number above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise UserError(f"optimiser setting weight_decay is {self.weight_decay}: give 0 or more")
        for name, rate in (("betas", self.betas[0]), ("betas", self.betas[1]), ("momentum", self.momentum)):
            if not 0 <= rate < 1:
                raise UserError(f"optimiser setting {name} is {getattr(self, name)}: give numbers from 0 to below 1")


class Rule(Protocol):
    """One update rule over some of a model's parameters."""

    def step(self, factor: float) -> None: ...

    def tensors(self) -> dict[str, Tensor]: ...


class Optimiser:
    """The rules that together update a model's trainable parameters, and their state as named tensors.

    Rules see what this rank holds: of a parameter that is shared out (see `sharding`) the rows, else all of it.
    """

    def __init__(self, rules: Mapping[str, Rule], parameters: Iterable[HeldParameter]):
        self.rules = dict(rules)
        self.parameters = list(parameters)

    def step(self, learning_rate_factor: float) -> None:
        """Update every parameter from its gradient; the factor is the schedule's, times each rule's learning rate."""
        self._take_gradients()
        for rule in self.rules.values():
            rule.step(learning_rate_factor)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.drop_gradient()

    def clip_gradients(self, max_norm: float) -> Tensor:
        """`clip_gradients` of all parameters, whoever holds them."""
        self._take_gradients()
        whole = [parameter.held for parameter in self.parameters if parameter.rows is None]
        return clip_gradients(whole, max_norm, [p for p in self.parameters if p.rows is not None])

    def _take_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.take_gradient()

    def tensors(self) -> dict[str, Tensor]:
        """The live state by name, `rule/parameter/kind`; everything is a tensor, step counts included."""
        return {f"{label}/{name}": t for label, rule in self.rules.items() for name, t in rule.tensors().items()}

    def export_state(self) -> dict[str, Tensor]:
        """A copy of the state, contiguous and on the CPU, which later steps leave alone."""
        return gathered_on_first(self.tensors(), is_first=True)

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise UserError when an exported state belongs to another model or optimiser."""
        live = self.tensors()
        if foreign := sorted(live.keys() ^ state.keys()):
            raise UserError(
                f"the optimiser state does not fit: {foreign[0]!r} is {'missing' if foreign[0] in live else 'unknown'}"
                f" ({len(foreign)} such tensors); resume with the recipe that began the run"
            )
        for name, tensor in live.items():
            if (tensor.shape, tensor.dtype) != (state[name].shape, state[name].dtype):
                raise UserError(
                    f"the optimiser state does not fit: {name!r} is {state[name].dtype} {tuple(state[name].shape)}, "
                    f"expected {tensor.dtype} {tuple(tensor.shape)}; resume with the recipe that began the run"
                )

    @torch.no_grad()
    def import_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over an exported state bit by bit; UserError when it belongs to another model or optimiser."""
        self.check_state(state)
        for name, tensor in self.tensors().items():
            put(tensor, state[name])


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> Optimiser:
    """The optimiser of these settings over all parameters of the model that require gradients."""
    trainable = {name: HeldParameter.of(p) for name, p in model.named_parameters() if p.requires_grad}
    matrices = {name: p for name, p in trainable.items() if is_block_matrix(name, p.held)}
    rest = {name: p for name, p in trainable.items() if name not in matrices}
    rules: dict[str, Rule] = {}
    if settings.name == "muon" and settings.query_rate != 1.0:
        queries = {name: matrices.pop(name) for name in list(matrices) if decides_attention(name)}
        slower = replace(settings, matrix_learning_rate=settings.matrix_learning_rate * settings.query_rate)
        if queries:
            rules["queries"] = _matrix_rule(queries, slower)
    if matrices:
        rules["matrices"] = _matrix_rule(matrices, settings)
    if rest:
        rules["rest"] = _rest_rule(rest, settings)
    return Optimiser(rules, trainable.values())


def is_block_matrix(name: str, parameter: Tensor) -> bool:
    """True for the linear layers inside the blocks: not for embeddings, the head, relative bias tables, norms."""
    return parameter.ndim == 2 and ".block." in name and "relative_attention_bias" not in name


def decides_attention(name: str) -> bool:
    """True for queries, and for keys of cross-attention, which a decoder's sentinels are matched with."""
    return name.endswith((".q.weight", "EncDecAttention.k.weight"))


def _matrix_rule(matrices: Mapping[str, HeldParameter], settings: OptimiserSettings) -> Rule:
    if settings.name == "muon":
        return Muon(
            matrices,
            settings.matrix_learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            num_newton_schulz=settings.num_newton_schulz,
        )
    return _rest_rule(matrices, settings, settings.weight_decay)


def _rest_rule(parameters: Mapping[str, HeldParameter], settings: OptimiserSettings, weight_decay: float = 0.0) -> Rule:
    if settings.name == "adafactor":
        return Adafactor(
            parameters,
            settings.learning_rate,
            weight_decay=weight_decay,
            decay_exponent=settings.decay_exponent,
            clip_update=settings.clip_update,
            parameter_scale=settings.parameter_scale,
            relative_step=settings.relative_step,
            beta1=settings.beta1,
        )
    return AdamW(parameters, settings.learning_rate, betas=settings.betas, eps=settings.eps, weight_decay=weight_decay)


def clip_gradients(
    parameters: Iterable[nn.Parameter], max_norm: float, shared_out: Sequence[HeldParameter] = ()
) -> Tensor:
    """Scale all gradients so that their joint Euclidean norm is at most `max_norm`; the norm before, a 0-d tensor.

    A NaN or infinite gradient anywhere makes the norm NaN or infinite: check it before the step. `max_norm` may be
    infinite, which only measures. Of `shared_out` other ranks hold the rest, and the norm is that of all.
    """
    kept = list(parameters)
    norm = torch.nn.utils.get_total_norm([p.grad for p in kept if p.grad is not None], foreach=True)
    for mesh in {each.rows.mesh for each in shared_out if each.rows}:
        parts = [each.held for each in shared_out]
        norm = joint_norm(norm, [part.grad for part in parts if part.grad is not None], mesh)
        kept += parts
    if max_norm < float("inf"):
        torch.nn.utils.clip_grads_with_norm_(kept, max_norm, norm, foreach=True)
    return norm
