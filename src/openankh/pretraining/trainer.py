"""The moving parts of a run: model, optimiser, place in the corpus; one update at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openankh.errors import UserError
from openankh.model import Ankh, FeedForwardLayer, RMSNorm
from openankh.order import Order
from openankh.packing import Batch, Batches, Proteins, Turns
from openankh.pretraining.batches_ahead import BatchesAhead
from openankh.pretraining.engine import Engine
from openankh.pretraining.flops import training_flops
from openankh.pretraining.initialisation import initialise, reserved_rows
from openankh.pretraining.objective_loss import LossSums, TargetWeights
from openankh.pretraining.optimisers import build_optimiser
from openankh.pretraining.rank_loss import RankLoss
from openankh.pretraining.ranks import ALONE, Ranks
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.recomputation import recompute_layers
from openankh.pretraining.sharding import whole_model
from openankh.pretraining.stability import Trouble, not_finite
from openankh.pretraining.state import TrainingState, begin_with, restore, snapshot

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Update:
    """What one update did: losses in nats a target token before it, what it read, and what it cost.

    `task_losses` are those of the hidden residues of each objective of a mixture that the update had proteins of.
    """

    loss: float
    residue_loss: float
    gradient_norm: float
    num_residues_read: int
    num_tokens_read: int
    flops: int
    task_losses: Mapping[str, float] = field(default_factory=dict)


Judge = Callable[[float, float], Trouble | None]
"""Tells from loss and gradient norm why a step must not be taken; every rank is asked about the same numbers."""


class RefusedStepError(UserError):
    """A step was not taken: the weights are untouched; `next_position` is where the proteins behind it begin."""

    def __init__(self, message: str, trouble: Trouble, position: int, next_position: int):
        super().__init__(message)
        self.trouble, self.position, self.next_position = trouble, position, next_position


class Trainer:
    """A recipe at work on a corpus; everything that the next update depends on is in `state`.

    `begin_with` are the weights of another model of the same shape; without them the recipe draws its own.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: Proteins,
        device: torch.device,
        begin_with: Mapping[str, Tensor] | None = None,
        ranks: Ranks = ALONE,
        engine: Engine = Engine(),  # noqa: B008  (immutable)
    ):
        if recipe.accumulation % ranks.size:
            raise UserError(
                f"accumulation is {recipe.accumulation}: {ranks.size} ranks share a step's batches evenly, so give "
                f"accumulation={ranks.size} or a multiple of it"
            )
        self.recipe = recipe
        self.device = device
        self.ranks = ranks
        with torch.device("meta"):  # no time is lost on weights that are drawn anew
            self.model = Ankh(recipe.model)
        self.model.to_empty(device="cpu")
        if begin_with is None:
            initialise(self.model, recipe.vocab, recipe.initialisation, recipe.seed)
        else:
            self.model.load_state_dict(begin_with)
        if engine.compiles(device):
            compile_layers(self.model)
        if engine.recompute:
            recompute_layers(self.model)
        self.weights = TargetWeights(recipe.other_targets, recipe.encoder_loss)
        dtype, is_sharded = DTYPES[recipe.dtype], engine.sharding == "full" and ranks.size > 1
        if not is_sharded:
            self.model.to(device)
        self.loss = RankLoss(self.model, recipe.vocab, self.weights, dtype, device, ranks, is_sharded)
        self.optimiser = build_optimiser(self.model, recipe.optimiser)
        self._order = Order(len(corpus.lengths), recipe.seed)
        batches = Batches(corpus, self._order, recipe.objective, recipe.packing, recipe.seed)
        turns = Turns(batches, ranks.rank, ranks.size)
        self.batches = turns if device.type == "cpu" else BatchesAhead(turns)
        self.step = 0
        self.position = 0

    def update(
        self, learning_rate_factor: float, before_batch: Callable[[], None] = lambda: None, judge: Judge = not_finite
    ) -> Update:
        """Take one step over the next batches; what `before_batch` raises gives it up.

        Raises RefusedStepError, before any weight changes, naming the batch, where `judge` finds trouble.
        """
        batches = self._next_batches()
        (whole_weight,) = self.ranks.sums([sum(self._weight(batch) for batch in batches)])
        self.optimiser.zero_grad()
        sums: list[LossSums] = []
        for batch in batches:
            before_batch()
            sums.append(self.loss.add_gradients(batch, whole_weight, is_last=batch is batches[-1]))
        if self.recipe.initialisation == "eager":
            for rows in reserved_rows(self.model):
                rows.zero_()
        norm = float(self.optimiser.clip_gradients(self.recipe.clip_norm))
        update = self._update(batches, sums, norm)
        if trouble := judge(update.loss, update.gradient_norm):
            self.optimiser.zero_grad()
            raise self._refused(trouble, batches, sums)
        self.optimiser.step(learning_rate_factor)
        self.optimiser.zero_grad()
        self.step, self.position = self.step + 1, batches[-1].next_position
        return update

    def state(self, facts: Mapping[str, Any]) -> TrainingState:
        """A copy of all that the next update depends on, with the loop's own facts; every rank has to ask for it.

        Only the first rank's has tensors.
        """
        facts = {**facts, "position": self.position}
        return snapshot(self.model, self.optimiser, self.step, facts, ranks=self.ranks)

    def restore(self, state: TrainingState) -> None:
        """Go on from the first rank's state, bit by bit; every rank has to."""
        restore(state, self.model, self.optimiser, self.ranks)
        self.step, self.position = state.step, int(state.facts["position"])

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights of another model of the same shape; every rank has to."""
        begin_with(weights, self.model, self.ranks)

    def whole_model(self) -> Ankh | None:
        """The model, for the first rank to save; every rank has to ask for it."""
        return whole_model(self.model, self.ranks.is_first)

    def _next_batches(self) -> list[Batch]:
        batches: list[Batch] = []
        position = self.position
        for _ in range(self.recipe.accumulation // self.ranks.size):
            batches.append(self.batches.at(position))
            position = batches[-1].next_position
        return batches

    def _weight(self, batch: Batch) -> float:
        return float(self.weights.of(batch.targets.ids, self.recipe.vocab).sum())

    def _update(self, batches: list[Batch], sums: list[LossSums], norm: float) -> Update:
        """What all ranks did together."""
        task_losses = task_loss_sums(batches, sums, len(self.recipe.objectives))
        added = self.ranks.sums(
            [
                *_totals(sums),
                sum(batch.num_residues for batch in batches),
                sum(len(batch.inputs.ids) for batch in batches),
                sum(training_flops(self.recipe.model, b.inputs.lengths, b.targets.lengths) for b in batches),
                float(not math.isfinite(norm)),
                *task_losses,
            ]
        )
        total, residues, num_tokens, num_residues, num_read, num_tokens_read, flops, num_bad, *task_losses = added
        return Update(
            loss=total / num_tokens,
            residue_loss=residues / max(1, num_residues),
            gradient_norm=norm if not num_bad or not math.isfinite(norm) else math.nan,
            num_residues_read=int(num_read),
            num_tokens_read=int(num_tokens_read),
            flops=int(flops),
            task_losses=self._named(task_losses),
        )

    def _named(self, sums: list[float]) -> dict[str, float]:
        """Mean losses of a mixture's objectives by name, of those that had residues."""
        tasks = self.recipe.objectives
        if len(tasks) == 1:
            return {}
        losses, counts = sums[: len(tasks)], sums[len(tasks) :]
        return {task.name: loss / n for task, loss, n in zip(tasks, losses, counts, strict=True) if n}

    def _refused(self, trouble: Trouble, batches: list[Batch], sums: list[LossSums]) -> RefusedStepError:
        """Tells of the first batch, of all ranks' ones, whose own loss is not finite, else of the whole step."""
        guilty = [batch for batch, own in zip(batches, sums, strict=True) if not math.isfinite(own.total)]
        told = [0] * (2 * self.ranks.size)
        if guilty:
            place = 2 * self.ranks.rank
            told[place : place + 2] = guilty[0].position, guilty[0].position + len(guilty[0].proteins)
        told = [int(number) for number in self.ranks.sums(told)]
        spans = [span for span in zip(told[::2], told[1::2], strict=True) if span[1]]
        next_position = batches[-1].next_position
        first, last = min(spans, default=(self.position, next_position))
        some = ", ".join(str(number) for number in self._order.at(np.arange(first, min(first + 5, last))))
        return RefusedStepError(
            f"step {self.step + 1}: {trouble} in the batch at positions {first} to {last - 1} (corpus proteins {some}, "
            "…); the weights were not touched",
            trouble,
            self.position,
            next_position,
        )


def _totals(sums: list[LossSums]) -> list[float]:
    """Loss of all target tokens, of hidden residues, and how many there are of each."""
    total, residues = (
        float(torch.stack(part).double().sum())
        for part in ([each.total for each in sums], [each.residues for each in sums])
    )
    return [total, residues, sum(each.num_tokens for each in sums), sum(each.num_residues for each in sums)]


def task_loss_sums(batches: list[Batch], sums: list[LossSums], num_tasks: int) -> list[float]:
    """Of each objective the loss of its hidden residues added up, then how many there are of each."""
    number_P = np.concatenate([batch.tasks for batch in batches])
    loss_P = torch.cat([each.residues_B for each in sums]).double().cpu().numpy()
    count_P = np.concatenate([each.num_residues_B for each in sums])
    return [*np.bincount(number_P, loss_P, num_tasks), *np.bincount(number_P, count_P, num_tasks)]


def compile_layers(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile norms and feed-forwards in place: between the attentions, where memory traffic is what costs."""
    for module in model.modules():
        if isinstance(module, RMSNorm | FeedForwardLayer):
            module.compile(backend=backend, dynamic=True)
