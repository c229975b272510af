"""The moving parts of a run: model, optimiser, place in the corpus; one update at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openankh.attention import is_compiled
from openankh.errors import UserError
from openankh.model import Ankh, FeedForwardLayer, RMSNorm
from openankh.order import Order
from openankh.packing import Batch, Batches, Proteins
from openankh.pretraining.batches_ahead import BatchesAhead
from openankh.pretraining.flops import training_flops
from openankh.pretraining.initialisation import initialise, reserved_rows
from openankh.pretraining.objective_loss import LossSums, TargetWeights, batch_loss
from openankh.pretraining.optimisers import build_optimiser, clip_gradients
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.state import TrainingState, restore, snapshot

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


class NotFiniteError(UserError):
    """A loss or gradient is NaN or infinite; the weights were not touched."""


class Trainer:
    """A recipe at work on a corpus; everything that the next update depends on is in `state`.

    `begin_with` are the weights of another model of the same shape; without them the recipe draws its own.
    """

    def __init__(
        self, recipe: Recipe, corpus: Proteins, device: torch.device, begin_with: Mapping[str, Tensor] | None = None
    ):
        self.recipe = recipe
        self.device = device
        with torch.device("meta"):  # no time is lost on weights that are drawn anew
            self.model = Ankh(recipe.model)
        self.model.to_empty(device="cpu")
        if begin_with is None:
            initialise(self.model, recipe.vocab, recipe.initialisation, recipe.seed)
        else:
            self.model.load_state_dict(begin_with)
        self.model.to(device)
        if is_compiled(device):
            compile_layers(self.model)
        self.optimiser = build_optimiser(self.model, recipe.optimiser)
        order = Order(len(corpus.lengths), recipe.seed)
        batches = Batches(corpus, order, recipe.objective, recipe.packing, recipe.seed)
        self.batches = batches if device.type == "cpu" else BatchesAhead(batches)
        self.step = 0
        self.position = 0

    def update(self, learning_rate_factor: float, before_batch: Callable[[], None] = lambda: None) -> Update:
        """Take one step over the next batches; what `before_batch` raises gives it up.

        Raises NotFiniteError, before any weight changes, naming the batch.
        """
        batches = self._next_batches()
        weights = TargetWeights(self.recipe.other_targets, self.recipe.encoder_loss)
        whole_weight = sum(float(weights.of(batch.targets.ids, self.recipe.vocab).sum()) for batch in batches)
        self.optimiser.zero_grad()
        sums: list[LossSums] = []
        for batch in batches:
            before_batch()
            sums.append(self._accumulate(batch, weights, whole_weight))
        if self.recipe.initialisation == "eager":
            for rows in reserved_rows(self.model):
                rows.zero_()
        norm = float(clip_gradients(self.model.parameters(), self.recipe.clip_norm))
        update = self._update(batches, sums, norm)
        if not (math.isfinite(norm) and math.isfinite(update.loss)):
            self.optimiser.zero_grad()
            raise self._not_finite(update, batches, sums)
        self.optimiser.step(learning_rate_factor)
        self.optimiser.zero_grad()
        self.step, self.position = self.step + 1, batches[-1].next_position
        return update

    def state(self, facts: Mapping[str, Any]) -> TrainingState:
        """A copy of all that the next update depends on, with the loop's own facts."""
        return snapshot(self.model, self.optimiser, self.step, {**facts, "position": self.position})

    def restore(self, state: TrainingState) -> None:
        """Go on from a state, bit by bit."""
        restore(state, self.model, self.optimiser)
        self.step, self.position = state.step, int(state.facts["position"])

    def _next_batches(self) -> list[Batch]:
        batches: list[Batch] = []
        position = self.position
        for _ in range(self.recipe.accumulation):
            batches.append(self.batches.at(position))
            position = batches[-1].next_position
        return batches

    def _accumulate(self, batch: Batch, weights: TargetWeights, whole_weight: float) -> LossSums:
        """Add a batch's share to the gradients."""
        dtype = DTYPES[self.recipe.dtype]
        sums = batch_loss(self.model, batch, self.recipe.vocab, weights, dtype, self.device)
        (sums.weighted / whole_weight).backward()
        return sums

    def _update(self, batches: list[Batch], sums: list[LossSums], norm: float) -> Update:
        total, residues = (
            float(torch.stack(part).double().sum())
            for part in ([each.total for each in sums], [each.residues for each in sums])
        )
        return Update(
            loss=total / sum(each.num_tokens for each in sums),
            residue_loss=residues / max(1, sum(each.num_residues for each in sums)),
            gradient_norm=norm,
            num_residues_read=sum(batch.num_residues for batch in batches),
            num_tokens_read=sum(len(batch.inputs.ids) for batch in batches),
            flops=sum(training_flops(self.recipe.model, b.inputs.lengths, b.targets.lengths) for b in batches),
            task_losses=self._task_losses(batches, sums),
        )

    def _task_losses(self, batches: list[Batch], sums: list[LossSums]) -> dict[str, float]:
        tasks = self.recipe.objective.tasks
        if len(tasks) == 1:
            return {}
        number_P = np.concatenate([batch.tasks for batch in batches])
        loss_P = np.concatenate([each.residues_B.double().cpu().numpy() for each in sums])
        loss = np.bincount(number_P, loss_P, len(tasks))
        count = np.bincount(number_P, np.concatenate([each.num_residues_B for each in sums]), len(tasks))
        return {task.name: loss[n] / count[n] for n, task in enumerate(tasks) if count[n]}

    def _not_finite(self, update: Update, batches: list[Batch], sums: list[LossSums]) -> NotFiniteError:
        guilty = [batch for batch, own in zip(batches, sums, strict=True) if not math.isfinite(own.total)]
        batch = (guilty or batches)[0]
        some = ", ".join(str(number) for number in batch.proteins[:5])
        return NotFiniteError(
            f"step {self.step + 1}: loss {update.loss:.4g}, gradient norm {update.gradient_norm:.4g} in the batch "
            f"at positions {batch.position} to {batch.next_position - 1} (corpus proteins {some}, …); the weights were "
            "not touched: begin a new run with a lower learning rate, or go on from the last checkpoint with --resume"
        )


def compile_layers(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile norms and feed-forwards in place: between the attentions, where memory traffic is what costs."""
    for module in model.modules():
        if isinstance(module, RMSNorm | FeedForwardLayer):
            module.compile(backend=backend, dynamic=True)
