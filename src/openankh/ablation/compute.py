"""Equal compute: what a step of a recipe costs on a corpus, and how many steps a budget of FLOPs pays."""

import time
from dataclasses import replace

import torch

from openankh.order import Order
from openankh.packing import Batches, Proteins
from openankh.pretraining.flops import training_flops
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.trainer import Trainer

NUM_SAMPLED_BATCHES = 128
"""A batch holds a fixed number of tokens, so its FLOPs vary little: this many give their mean to a part in 1,000."""
_WARM_UP_STEPS = 3
_MIN_TIMED_SECONDS = 10.0


def flops_a_step(recipe: Recipe, corpus: Proteins) -> float:
    """Mean training FLOPs of a step: those of the first batches that the recipe makes of the corpus."""
    order = Order(len(corpus.lengths), recipe.seed)
    batches = Batches(corpus, order, recipe.objective, recipe.packing, recipe.seed)
    total = position = 0
    for _ in range(NUM_SAMPLED_BATCHES):
        batch = batches.at(position)
        position = batch.next_position
        total += training_flops(recipe.model, batch.inputs.lengths, batch.targets.lengths)
    return recipe.accumulation * total / NUM_SAMPLED_BATCHES


def with_steps(recipe: Recipe, num_steps: int) -> Recipe:
    """The recipe ended after so many steps and validated then alone: the model kept is that of all its compute."""
    return replace(recipe, total_steps=num_steps, valid_every=num_steps)


def flops_in(minutes: float, recipe: Recipe, corpus: Proteins, device: str) -> float:
    """The training FLOPs that the recipe gets through here in so many minutes, measured over a few seconds."""
    torch.manual_seed(recipe.seed)
    trainer = Trainer(recipe, corpus, torch.device(device))
    for _ in range(_WARM_UP_STEPS):
        trainer.update(0.0)
    flops, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < min(_MIN_TIMED_SECONDS, 6 * minutes) or not flops:
        flops += trainer.update(0.0).flops
    return flops / seconds * 60 * minutes
