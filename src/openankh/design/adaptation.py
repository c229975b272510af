"""Adapting a model to a family: a few epochs over its members, the best of them kept.

The parts are those of pre-training (its loss over packed proteins, optimisers, schedule and order); what is another is
that part of the weights may be frozen, and that a step is a number of members.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openankh.design.continuation_objective import FamilyObjective
from openankh.design.family import Split
from openankh.design.family_settings import FamilySettings
from openankh.design.tuned_parts import choose_parts, merge_matrices
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.hardware import multiplies_bf16
from openankh.model import Ankh
from openankh.order import Order
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.optimisers import build_optimiser
from openankh.pretraining.schedule import Schedule, StepPlan
from openankh.vocab import Vocab

_CLIP_NORM = 1.0
_MEASURED_TOGETHER = 16


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to: mean losses in nats a target token while it was learned, and of held-out residues.

    Epoch 0 is the model as it was; `held_out_loss` is None where nothing is held out.
    """

    number: int
    loss: float | None
    held_out_loss: float | None


@dataclass(frozen=True)
class Adapted:
    """How a model was adapted: its epochs, which of them its weights are of, and how much was trained and read."""

    history: tuple[Epoch, ...]
    best_epoch: int
    num_trained: int
    num_steps: int
    num_residues: int


OnStep = Callable[[int, int, float], None]
"""Told after each step: how many are done, of how many, and the step's loss."""


def adapt(
    model: Ankh,
    vocab: Vocab,
    members: Split,
    settings: FamilySettings,
    on_step: OnStep = lambda step, steps, loss: None,
) -> Adapted:
    """Train the model in place, on the device where it is; nobody else's randomness is touched.

    The model's weights are in fp32; products are in bf16 where the device multiplies in it. The same seed on the same
    machine gives the same weights. Raises UserError when the loss is no number any more.
    """
    if not model.config.num_decoder_layers:
        raise UserError("the model is an encoder alone, which cannot write; name one with a decoder")
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(settings.seed)
        choose_parts(model, settings)
        adapted = _Adaptation(model, vocab, members, settings).run(on_step)
        merge_matrices(model, settings.lora)
    model.requires_grad_(False)
    return adapted


class _Adaptation:
    """One course of learning."""

    def __init__(self, model: Ankh, vocab: Vocab, members: Split, settings: FamilySettings) -> None:
        self.model, self.vocab, self.members, self.settings = model, vocab, members, settings
        self.objective = FamilyObjective(vocab, settings.prompt, settings.length)
        self.weights = TargetWeights()
        self.device = model.shared.weight.device
        self.dtype = torch.bfloat16 if multiplies_bf16(self.device) else torch.float32
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = build_optimiser(model, settings.optimiser_settings)
        self.order = Order(len(members.learned), settings.seed)
        self.steps_an_epoch = math.ceil(len(members.learned) / settings.batch)
        num_steps = settings.epochs * self.steps_an_epoch
        self.plan = StepPlan(Schedule("linear"), round(settings.warmup * num_steps), num_steps)
        self.num_steps = self.num_residues = 0

    def run(self, on_step: OnStep) -> Adapted:
        """All epochs; the weights are then those of the best one."""
        history = [Epoch(0, None, self._held_out_loss())]
        best_loss, best, kept = math.inf, 0, list[Tensor]()
        for number in range(1, self.settings.epochs + 1):
            loss = self._learn(number, on_step)
            history.append(Epoch(number, loss, self._held_out_loss()))
            judged = history[-1].held_out_loss
            if judged is None or judged < best_loss or not best:
                best_loss, best = math.inf if judged is None else judged, number
                kept = self._kept() if number < self.settings.epochs else []
        with torch.no_grad():
            for parameter, weight in zip(self.trained, kept, strict=bool(kept)):
                parameter.copy_(weight)
        num_trained = sum(parameter.numel() for parameter in self.trained)
        return Adapted(tuple(history), best, num_trained, self.num_steps, self.num_residues)

    def _kept(self) -> list[Tensor]:
        """Copies of what is trained, where they take no room of a GPU."""
        return [parameter.detach().to("cpu", copy=True) for parameter in self.trained]

    def _learn(self, number: int, on_step: OnStep) -> float:
        """One epoch, each member once; its mean loss."""
        total, num_tokens = 0.0, 0.0
        first = (number - 1) * len(self.members.learned)
        places = self.order.at(np.arange(first, first + len(self.members.learned)))
        for chosen in np.array_split(places, self.steps_an_epoch):
            added, num = self._step([self.members.learned[place] for place in chosen.tolist()])
            if not math.isfinite(added):
                raise UserError(f"the loss became {added} in epoch {number}; lower --learning-rate")
            total, num_tokens = total + added, num_tokens + num
            on_step(self.num_steps, self.plan.total_steps or 0, added / num)
        return total / num_tokens

    def _step(self, members: Sequence[Record]) -> tuple[float, float]:
        """Learn from some members; their loss added up, and over how many target tokens."""
        pairs = self.objective.pairs(members)
        num = float(self.weights.of(pairs.targets.ids, self.vocab).sum())
        self.optimiser.zero_grad()
        sums = batch_loss(self.model, pairs, self.vocab, self.weights, self.dtype, self.device)
        (sums.weighted / num).backward()
        self.optimiser.clip_gradients(_CLIP_NORM)
        self.optimiser.step(self.plan.factor(self.num_steps))
        self.num_steps += 1
        self.num_residues += sums.num_residues
        return float(sums.total), num

    @torch.no_grad()
    def _held_out_loss(self) -> float | None:
        """Nats a residue behind the prompts of the members held out."""
        held_out, total, num = self.members.held_out, 0.0, 0
        for first in range(0, len(held_out), _MEASURED_TOGETHER):
            pairs = self.objective.pairs(held_out[first : first + _MEASURED_TOGETHER])
            sums = batch_loss(self.model, pairs, self.vocab, self.weights, self.dtype, self.device)
            total, num = total + float(sums.residues), num + sums.num_residues
        return total / num if num else None
