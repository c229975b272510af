"""The optimisers: parity with PyTorch's and transformers', exact resumption, which parameter gets which rule."""

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor as ReferenceAdafactor

from openankh.errors import UserError
from openankh.pretraining.muon import orthogonalise
from openankh.pretraining.optimisers import (
    OPTIMISER_NAMES,
    Optimiser,
    OptimiserName,
    OptimiserSettings,
    build_optimiser,
    clip_gradients,
    is_block_matrix,
)

SCHEDULE = [0.1, 0.5, 1.0, 1.0, 0.7, 0.4, 0.1]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(12, 16, bias=False)
        self.o = nn.Linear(16, 12, bias=False)
        self.relative_attention_bias = nn.Embedding(6, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.o(self.q(hidden)) + self.relative_attention_bias.weight.mean()


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(Block(), Block(), Block())
        self.final_layer_norm = nn.RMSNorm(12)


class Network(nn.Module):
    """A few parameters named as a T5's."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.shared = nn.Embedding(9, 12)
        self.encoder = Stack()
        self.lm_head = nn.Linear(12, 9, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(1000 + seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 10 ** (seed % 3 - 2)


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def train(model: nn.Module, optimiser: Optimiser, steps: range) -> None:
    for step in steps:
        give_gradients(model, step)
        optimiser.step(SCHEDULE[step % len(SCHEDULE)])


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    return max(float((p - q).detach().abs().max()) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def matrices_and_rest(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    named = list(model.named_parameters())
    return [p for n, p in named if is_block_matrix(n, p)], [p for n, p in named if not is_block_matrix(n, p)]


@pytest.mark.parametrize("parameter_scale", [True, False])
@pytest.mark.parametrize("beta1", [None, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adafactor_takes_the_reference_steps(parameter_scale: bool, beta1: float | None, weight_decay: float):
    ours, theirs = Network(), Network()
    settings = OptimiserSettings(
        learning_rate=0.05, parameter_scale=parameter_scale, beta1=beta1, weight_decay=weight_decay
    )
    optimiser = build_optimiser(ours, settings)
    matrices, rest = matrices_and_rest(theirs)
    reference = ReferenceAdafactor(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": rest}],
        lr=0.05, scale_parameter=parameter_scale, relative_step=False, beta1=beta1,
    )  # fmt: skip
    for step, factor in enumerate(SCHEDULE):
        train(ours, optimiser, range(step, step + 1))
        give_gradients(theirs, step)
        for group in reference.param_groups:
            group["lr"] = 0.05 * factor
        reference.step()
        assert largest_difference(ours, theirs) < 2e-6


def test_adafactor_with_relative_steps_takes_the_reference_steps():
    ours, theirs = Network(), Network()
    optimiser = build_optimiser(ours, OptimiserSettings(relative_step=True))
    reference = ReferenceAdafactor(theirs.parameters(), relative_step=True, scale_parameter=True)
    for step in range(6):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimiser.step(1.0)
        reference.step()
        assert largest_difference(ours, theirs) < 2e-6


def test_adafactor_keeps_one_number_a_row_and_a_column():
    state = build_optimiser(Network(), OptimiserSettings()).tensors()
    assert state["matrices/encoder.block.0.q.weight/row"].shape == (16,)
    assert state["matrices/encoder.block.0.q.weight/column"].shape == (12,)
    assert state["rest/encoder.final_layer_norm.weight/square"].shape == (12,)


def test_muon_takes_the_steps_of_torch_muon_and_adamw():
    ours, theirs = Network(), Network()
    optimiser = build_optimiser(ours, OptimiserSettings("muon", learning_rate=0.01, weight_decay=0.1))
    matrices, rest = matrices_and_rest(theirs)
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95)
    adamw = torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.98), weight_decay=0.0)
    for step, factor in enumerate(SCHEDULE):
        train(ours, optimiser, range(step, step + 1))
        give_gradients(theirs, step)
        muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"] = 0.02 * factor, 0.01 * factor
        muon.step()
        adamw.step()
    # Both orthogonalise in bfloat16, whose rounding differs between one product and a batch of them.
    assert largest_difference(ours, theirs) < 0.02 * sum(SCHEDULE) * 2**-7


def test_adamw_decays_the_matrices_inside_blocks_alone():
    ours, theirs = Network(), Network()
    optimiser = build_optimiser(ours, OptimiserSettings("adamw", learning_rate=0.01, weight_decay=0.1))
    matrices, rest = matrices_and_rest(theirs)
    reference = torch.optim.AdamW(
        [{"params": matrices}, {"params": rest, "weight_decay": 0.0}], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1
    )
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimiser.step(1.0)
        reference.step()
    assert largest_difference(ours, theirs) < 1e-6


@pytest.mark.parametrize("shape", [(5, 16, 16), (3, 8, 32), (3, 32, 8), (1, 1, 7)])
def test_orthogonalising_brings_every_singular_value_near_one(shape: tuple[int, int, int]):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, num_steps=8).float())
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_orthogonalising_a_zero_gradient_gives_zero():
    assert orthogonalise(torch.zeros(2, 4, 4)).abs().max() == 0


@pytest.mark.parametrize("name", OPTIMISER_NAMES)
def test_resuming_equals_never_having_stopped_bit_by_bit(name: OptimiserName):
    settings = OptimiserSettings(name, weight_decay=0.01, beta1=0.9)
    whole, first = Network(), Network()
    optimiser = build_optimiser(whole, settings)
    train(whole, optimiser, range(9))
    begun = build_optimiser(first, settings)
    train(first, begun, range(4))
    state = begun.export_state()
    second = Network(seed=5)
    second.load_state_dict(first.state_dict())
    resumed = build_optimiser(second, settings)
    resumed.import_state(state)
    train(second, resumed, range(4, 9))
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True))
    one, other = optimiser.export_state(), resumed.export_state()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", OPTIMISER_NAMES)
def test_an_exported_state_is_a_copy_that_later_steps_leave_alone(name: OptimiserName):
    model = Network()
    optimiser = build_optimiser(model, OptimiserSettings(name))
    train(model, optimiser, range(2))
    state = optimiser.export_state()
    kept = {key: tensor.clone() for key, tensor in state.items()}
    train(model, optimiser, range(2, 4))
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    assert all(tensor.is_contiguous() for tensor in state.values())


def test_a_state_of_another_optimiser_or_shape_is_refused_and_leaves_everything():
    model = Network()
    optimiser = build_optimiser(model, OptimiserSettings("adamw"))
    train(model, optimiser, range(2))
    before = optimiser.export_state()
    foreign = build_optimiser(Network(), OptimiserSettings("muon")).export_state()
    with pytest.raises(UserError, match="does not fit"):
        optimiser.import_state(foreign)
    misshapen = {**before, "rest/shared.weight/exp_avg": torch.zeros(3)}
    with pytest.raises(UserError, match=r"shared\.weight/exp_avg.*expected"):
        optimiser.import_state(misshapen)
    assert all(torch.equal(before[key], tensor) for key, tensor in optimiser.tensors().items())


@pytest.mark.parametrize("name", OPTIMISER_NAMES)
def test_frozen_parameters_are_left_out(name: OptimiserName):
    model = Network()
    model.encoder.requires_grad_(False)
    before = [p.clone() for p in model.encoder.parameters()]
    optimiser = build_optimiser(model, OptimiserSettings(name))
    train(model, optimiser, range(2))
    assert all(torch.equal(b, p) for b, p in zip(before, model.encoder.parameters(), strict=True))
    assert not any("encoder" in key for key in optimiser.tensors())


@pytest.mark.parametrize("name", OPTIMISER_NAMES)
def test_every_optimiser_learns_a_small_regression(name: OptimiserName):
    torch.manual_seed(0)
    model = Network()
    optimiser = build_optimiser(model, OptimiserSettings(name, learning_rate=0.02))
    tokens, wanted = torch.arange(9), torch.randn(9, 9)

    def loss_of() -> torch.Tensor:
        hidden = model.encoder.final_layer_norm(model.encoder.block(model.shared(tokens)))
        return (model.lm_head(hidden) - wanted).square().mean()

    first = loss_of().item()
    for _ in range(60):
        optimiser.zero_grad()
        loss_of().backward()
        optimiser.step(1.0)
    assert loss_of().item() < 0.5 * first


def test_clipping_bounds_the_joint_norm_and_tells_the_norm_before():
    model = Network()
    give_gradients(model, 2)
    before = torch.cat([g.flatten() for g in gradients(model)])
    norm = clip_gradients(model.parameters(), 0.5)
    after = torch.cat([g.flatten() for g in gradients(model)])
    assert norm.ndim == 0
    torch.testing.assert_close(norm, before.norm())
    torch.testing.assert_close(after, before * (0.5 / before.norm()), rtol=1e-4, atol=1e-7)


def test_clipping_leaves_small_gradients_and_an_infinite_bound_only_measures():
    for bound in (1e9, float("inf")):
        model = Network()
        give_gradients(model, 0)
        before = [g.clone() for g in gradients(model)]
        clip_gradients(model.parameters(), bound)
        assert all(torch.equal(b, g) for b, g in zip(before, gradients(model), strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_one_poisoned_number_shows_in_the_norm(poison: float):
    model = Network()
    give_gradients(model, 0)
    gradients(model)[3][3, 2] = poison
    assert not torch.isfinite(clip_gradients(model.parameters(), 1.0))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "adam"}, "choose one of adafactor, adamw, muon"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        OptimiserSettings(**wrong)
