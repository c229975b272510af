"""One update: batches that accumulate are one batch, what is not finite touches nothing, places resume."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openankh.corpus import Corpus
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Batch, Batches, Turns
from openankh.pretraining import rank_loss
from openankh.pretraining.batches_ahead import BatchesAhead
from openankh.pretraining.filling import filled, round_size
from openankh.pretraining.objective_loss import LossSums, TargetWeights, batch_loss
from openankh.pretraining.pairs import PackedPairs, Pairs
from openankh.pretraining.recipes import recipe_named
from openankh.pretraining.stop_signals import StoppedError
from openankh.pretraining.trainer import RefusedStepError, Trainer, compile_layers
from training_samples import TINY, sample_corpus, tiny_recipe

CPU = torch.device("cpu")
FP32 = ("dtype=fp32", "initialisation=published", "other_targets=0.3", "encoder_loss=0.5")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return sample_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def trainer_of(corpus: Corpus, *changes: str) -> Trainer:
    return Trainer(tiny_recipe(*changes), corpus, CPU)


def joined(batches: list[Batch]) -> Batch:
    """One batch of all the proteins of several."""

    def join(name: str) -> Packed:
        return Packed.join([sequence for batch in batches for sequence in getattr(batch, name)])

    return dataclasses.replace(
        batches[0],
        inputs=join("inputs"),
        decoder_inputs=join("decoder_inputs"),
        targets=join("targets"),
        tasks=np.concatenate([batch.tasks for batch in batches]),
    )


def gradients_of_update(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[float, dict[str, Tensor]]:
    """The loss of an update, and the gradients that it hands to the optimiser."""
    kept: dict[str, Tensor] = {}

    def keep(factor: float) -> None:
        kept.update({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})

    monkeypatch.setattr(trainer.optimiser, "step", keep)
    return trainer.update(1.0).loss, kept


def relative_error(ours: Tensor, truth: Tensor) -> float:
    return float((ours.double() - truth.double()).norm() / truth.double().norm())


@pytest.mark.parametrize("clip_norm", ["inf", "0.05"])
def test_two_batches_accumulated_equal_one_batch_of_both(corpus: Corpus, monkeypatch, clip_norm: str) -> None:
    two = trainer_of(corpus, *FP32, "accumulation=2", f"clip_norm={clip_norm}")
    one = trainer_of(corpus, *FP32, f"clip_norm={clip_norm}")
    both = joined([two.batches.at(0), two.batches.at(two.batches.at(0).next_position)])
    monkeypatch.setattr(one, "_next_batches", lambda: [both])
    loss_of_two, of_two = gradients_of_update(two, monkeypatch)
    loss_of_one, of_one = gradients_of_update(one, monkeypatch)
    assert loss_of_two == pytest.approx(loss_of_one, rel=1e-6)
    assert of_two.keys() == dict(one.model.named_parameters()).keys()
    for name, gradient in of_one.items():
        assert relative_error(of_two[name], gradient) < 1e-6, name


def test_an_update_moves_on_by_its_batches_and_counts_what_it_read(corpus: Corpus) -> None:
    trainer = trainer_of(corpus, "accumulation=2")
    first = trainer.batches.at(0)
    second = trainer.batches.at(first.next_position)
    update = trainer.update(1.0)
    assert (trainer.step, trainer.position) == (1, second.next_position)
    assert update.num_residues_read == first.num_residues + second.num_residues
    assert update.num_tokens_read == len(first.inputs.ids) + len(second.inputs.ids)


def test_the_loss_falls(corpus: Corpus) -> None:
    trainer = trainer_of(corpus)
    losses = [trainer.update(1.0).residue_loss for _ in range(40)]
    assert sum(losses[-5:]) / 5 < losses[0] - 2


def test_a_restored_trainer_takes_the_same_steps(corpus: Corpus) -> None:
    one, other = trainer_of(corpus), trainer_of(corpus, "seed=0")
    for _ in range(3):
        one.update(1.0)
    other.restore(one.state({"more": 1}))
    assert (other.step, other.position) == (3, one.position)
    assert [one.update(0.5) for _ in range(3)] == [other.update(0.5) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def poison_weight(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    with torch.no_grad():
        trainer.model.shared.weight[5, 0] = value


def poison_gradient(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    trainer.model.encoder.final_layer_norm.weight.register_hook(lambda gradient: gradient.fill_(value))


def poison_loss(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """The loss of the second batch of an update."""
    calls: list[int] = []

    def poisoned(*arguments) -> LossSums:
        calls.append(1)
        sums = batch_loss(*arguments)
        factor = value if len(calls) == 2 else 1.0
        return dataclasses.replace(sums, weighted=sums.weighted * factor, total=sums.total * factor)

    monkeypatch.setattr(rank_loss, "batch_loss", poisoned)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("poison", [poison_weight, poison_gradient, poison_loss])
def test_what_is_not_finite_stops_before_weights_and_state_are_touched(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, poison, value: float
) -> None:
    trainer = trainer_of(corpus, "accumulation=3")
    trainer.update(1.0)
    poison(trainer, monkeypatch, value)
    before, position = trainer.state({}), trainer.position
    with pytest.raises(RefusedStepError, match=r"step 2: .* the weights were not touched"):
        trainer.update(1.0)
    after = trainer.state({})
    for kind in ("model", "optimiser"):
        pairs = [(tensor, getattr(after, kind)[name]) for name, tensor in getattr(before, kind).items()]
        assert all(one.equal(other) or one.isnan().any() for one, other in pairs)
    assert (trainer.step, trainer.position) == (1, position)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_the_guilty_batch_of_several_is_named(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(corpus, "accumulation=3")
    second = trainer.batches.at(trainer.batches.at(0).next_position)
    poison_loss(trainer, monkeypatch, float("nan"))
    with pytest.raises(RefusedStepError) as caught:
        trainer.update(1.0)
    assert f"positions {second.position} to {second.next_position - 1} " in str(caught.value)
    assert f"corpus proteins {second.proteins[0]}" in str(caught.value)


def test_a_step_given_up_between_its_batches_leaves_no_trace(corpus: Corpus) -> None:
    trainer, undisturbed = trainer_of(corpus, "accumulation=3"), trainer_of(corpus, "accumulation=3")
    calls: list[int] = []

    def stop_at_the_third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        trainer.update(1.0, stop_at_the_third)
    assert (trainer.step, trainer.position) == (0, 0)
    assert trainer.update(1.0) == undisturbed.update(1.0)
    assert all(
        torch.equal(a, b) for a, b in zip(trainer.model.parameters(), undisturbed.model.parameters(), strict=True)
    )


def loss_and_gradients(trainer: Trainer, sums: LossSums) -> list[Tensor]:
    return [sums.weighted.detach(), *torch.autograd.grad(sums.weighted, list(trainer.model.parameters()))]


def test_fillers_round_the_sizes_and_change_no_loss_and_no_gradient(corpus: Corpus) -> None:
    trainer = trainer_of(corpus, *FP32)
    batch, weights = trainer.batches.at(0), TargetWeights(0.3, 0.5)
    full = filled(batch)
    assert len(full.inputs.ids) == round_size(len(batch.inputs.ids)) > len(batch.inputs.ids)
    assert len(full.targets.ids) == round_size(len(batch.targets.ids)) == len(full.decoder_inputs.ids)
    assert len(full.inputs) == len(full.targets) > len(batch.inputs)
    assert min(full.inputs.lengths) > 0 and min(full.targets.lengths) > 0
    ours, theirs = (
        batch_loss(trainer.model, pairs, corpus.vocab, weights, torch.float32, CPU) for pairs in (full, batch)
    )
    assert (int(ours.num_residues), float(ours.total)) == pytest.approx((theirs.num_residues, float(theirs.total)))
    for one, other in zip(loss_and_gradients(trainer, ours), loss_and_gradients(trainer, theirs), strict=True):
        assert relative_error(one, other) < 2e-6


def test_sizes_are_few_and_never_smaller() -> None:
    sizes = {round_size(number) for number in range(16_384, 65_536)}
    assert len(sizes) <= 9
    assert all(number < round_size(number) <= max(number + 128, 1.25 * number + 1) for number in range(1, 70_000, 7))


def test_batches_ahead_are_the_batches_wherever_one_begins(corpus: Corpus) -> None:
    recipe = tiny_recipe()
    batches = Batches(corpus, Order(len(corpus), 0), recipe.objective, recipe.packing, 0)
    ahead = BatchesAhead(Turns(batches), num_ahead=2)
    position = 0
    for _ in range(5):
        batch = ahead.at(position)
        assert batch.position == position
        assert batch.inputs.ids.tolist() == batches.at(position).inputs.ids.tolist()
        position = batch.next_position
    for position in (7, 0, 1000):
        assert ahead.at(position).targets.ids.tolist() == batches.at(position).targets.ids.tolist()


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # raised and dropped inside torch.compile
def test_compiled_layers_change_no_name_and_no_number_and_compile_once_for_all_lengths(corpus: Corpus) -> None:
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    plain, compiled = trainer_of(corpus, *FP32), trainer_of(corpus, *FP32)
    compile_layers(compiled.model, backend=keep)
    assert plain.model.state_dict().keys() == compiled.model.state_dict().keys()
    losses = [(plain.update(1.0).loss, compiled.update(1.0).loss) for _ in range(4)]
    torch._dynamo.reset()
    for ours, theirs in losses:
        assert ours == pytest.approx(theirs, rel=1e-4)
    # One graph of the norm and one of the feed-forward: no layer, no length and no step needs its own.
    assert len(graphs) == 2


def loss_of(trainer: Trainer, pairs: Pairs, weights: TargetWeights) -> LossSums:
    return batch_loss(trainer.model, pairs, trainer.recipe.vocab, weights, torch.float32, CPU)


def alone(batch: Batch, number: int) -> PackedPairs:
    """One protein of a batch by itself."""
    parts = (Packed.join([part[number]]) for part in (batch.inputs, batch.decoder_inputs, batch.targets))
    return PackedPairs(*parts)


@pytest.mark.parametrize("recipe", ["micro", "nano_mixture"])
def test_the_loss_of_packed_proteins_is_that_of_each_by_itself(corpus: Corpus, recipe: str) -> None:
    # Nothing is padded, no token of one protein sees another's: nothing but the order of additions may differ.
    same_shape = [change for change in TINY if change.startswith("model")]
    changes = [*same_shape, *FP32, "model.num_encoder_layers=2", "model.num_decoder_layers=2", "encoder_loss=0"]
    packing = ["packing.tokens=2000", "packing.crop=256", "packing.length_multiple=1"]
    trainer = Trainer(recipe_named(recipe, [*changes, *packing]), corpus, CPU)
    batch, weights = trainer.batches.at(0), TargetWeights(0.3)
    assert len(batch.inputs) > 5 and len(set(batch.inputs.lengths.tolist())) > 1
    together = loss_of(trainer, batch, weights)
    separate = [loss_of(trainer, alone(batch, number), weights) for number in range(len(batch.inputs))]
    assert together.num_tokens == sum(each.num_tokens for each in separate)
    assert float(together.total) == pytest.approx(sum(float(each.total) for each in separate), rel=1e-6)
    for packed, by_itself in zip(together.residues_B.tolist(), separate, strict=True):
        assert packed == pytest.approx(float(by_itself.residues), rel=1e-5)
    parameters = list(trainer.model.parameters())
    of_packed = torch.autograd.grad(together.weighted, parameters)
    of_separate = torch.autograd.grad(torch.stack([each.weighted for each in separate]).sum(), parameters)
    for ours, truth in zip(of_packed, of_separate, strict=True):
        assert relative_error(ours, truth) < 2e-5
