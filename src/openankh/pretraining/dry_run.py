"""What a run would take, told without running it: memory, tokens, operations, GPU hours, money and disk.

Memory is what the network keeps on tensors without numbers, tokens and operations are those of real batches of the
corpus, or of proteins as long as UniRef50's; hours are arithmetic: operations over a share of a data sheet's peak.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.order import Order
from openankh.packing import Batch, Batches, Proteins
from openankh.pretraining.engine import Engine
from openankh.pretraining.flops import training_flops
from openankh.pretraining.memory_estimate import MemoryEstimate, estimate_memory
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.settings import nearest
from openankh.vocab import Vocab

NUM_SAMPLED_BATCHES = 8


@dataclass(frozen=True)
class Device:
    """What trains: peak of dense bf16 products in FLOP/s and bytes of memory, both of its data sheet."""

    name: str
    flops_a_second: float
    num_bytes: int | None


DEVICES = (
    Device("h100", 989e12, 80_000_000_000),
    Device("h200", 989e12, 141_000_000_000),
    Device("b200", 2250e12, 180_000_000_000),
    Device("a100", 312e12, 80_000_000_000),
    Device("l40s", 362e12, 48_000_000_000),
    Device("rtx4090", 165e12, 24_000_000_000),
)
"""SXM forms where there are several."""


@dataclass(frozen=True)
class Plan:
    """What a dry run assumes: which device, how many, what share of the peak they reach, what an hour of one costs."""

    device: str = "h100"
    num_devices: int = 1
    utilisation: float = 0.4
    price_per_hour: float | None = None
    engine: Engine = Engine()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if self.num_devices < 1:
            raise UserError(f"--gpus {self.num_devices}: give at least 1")
        if not 0 < self.utilisation <= 1:
            raise UserError(f"--utilisation {self.utilisation}: give a share above 0, at most 1")
        if self.price_per_hour is not None and not 0 <= self.price_per_hour < math.inf:
            raise UserError(f"--price-per-hour {self.price_per_hour}: give 0 or more")


@dataclass(frozen=True)
class Work:
    """What a step reads and computes on average, over all ranks; `num_targets` are the decoder's tokens."""

    num_tokens: float
    num_targets: float
    num_residues: float
    num_proteins: float
    flops: float

    @classmethod
    def of(cls, recipe: Recipe, batches: Sequence[Batch]) -> "Work":
        """The mean over some batches, times those of a step."""
        scale = recipe.accumulation / len(batches)
        return cls(
            num_tokens=scale * sum(len(batch.inputs.ids) for batch in batches),
            num_targets=scale * sum(len(batch.targets.ids) for batch in batches),
            num_residues=scale * sum(batch.num_residues for batch in batches),
            num_proteins=scale * sum(len(batch.proteins) for batch in batches),
            flops=scale * sum(training_flops(recipe.model, b.inputs.lengths, b.targets.lengths) for b in batches),
        )


@dataclass(frozen=True)
class DryRun:
    """What a run would take; `epochs` None where no corpus was given."""

    recipe: Recipe
    plan: Plan
    device: Device
    work: Work
    memory: MemoryEstimate
    epochs: float | None

    @property
    def total_flops(self) -> float:
        """Operations of all steps."""
        return self.work.flops * self.recipe.total_steps

    @property
    def device_hours(self) -> float:
        """Hours of one device."""
        return self.total_flops / (self.device.flops_a_second * self.plan.utilisation) / 3600

    @property
    def days(self) -> float:
        """Days of all devices together."""
        return self.device_hours / self.plan.num_devices / 24

    @property
    def cost(self) -> float | None:
        """In the currency of the price."""
        return None if self.plan.price_per_hour is None else self.device_hours * self.plan.price_per_hour

    @property
    def fits(self) -> bool | None:
        """Whether the peak leaves a tenth of the device's memory to its libraries; None where that is not known."""
        return None if self.device.num_bytes is None else self.memory.peak <= 0.9 * self.device.num_bytes

    @property
    def disk_bytes(self) -> int:
        """Of checkpoints while one is written, and of best/ while it is replaced."""
        weights = 4 * self.recipe.model.num_parameters
        return (self.recipe.keep_checkpoints + 1) * self.memory.checkpoint + 2 * weights


def dry_run(recipe: Recipe, plan: Plan, corpus: Proteins | None = None) -> DryRun:
    """What a run by this recipe on this corpus would take; UserError where the devices cannot share a step."""
    if recipe.accumulation % plan.num_devices:
        raise UserError(
            f"accumulation is {recipe.accumulation}: {plan.num_devices} GPUs share a step's batches evenly, so give "
            f"accumulation={plan.num_devices} or a multiple of it"
        )
    device = device_named(plan.device)
    batches = first_batches(recipe, corpus or UniRef50Like(recipe.vocab))
    largest = max(batches, key=lambda batch: training_flops(recipe.model, batch.inputs.lengths, batch.targets.lengths))
    kind = "cpu" if device.name == "cpu" else "cuda"
    memory = estimate_memory(recipe, largest, kind, plan.num_devices, plan.engine)
    work = Work.of(recipe, batches)
    epochs = None if corpus is None else work.num_proteins * recipe.total_steps / len(corpus.lengths)
    return DryRun(recipe, plan, device, work, memory, epochs)


def device_named(name: str) -> Device:
    """The device of that name, `cpu` being this machine's processor, whose peak is measured."""
    if name == "cpu":
        import torch

        from openankh.pretraining.flops import measured_peak

        return Device("cpu", measured_peak("cpu", torch.bfloat16), None)
    for device in DEVICES:
        if device.name == name:
            return device
    known = [*(device.name for device in DEVICES), "cpu"]
    raise UserError(f"--gpu {name}: not known{nearest(name, known)}; give one of {', '.join(known)}")


def first_batches(recipe: Recipe, corpus: Proteins) -> list[Batch]:
    """The first batches that a run would train on."""
    maker = Batches(corpus, Order(len(corpus.lengths), recipe.seed), recipe.objective, recipe.packing, recipe.seed)
    batches: list[Batch] = []
    position = 0
    for _ in range(NUM_SAMPLED_BATCHES):
        batches.append(maker.at(position))
        position = batches[-1].next_position
    return batches


class UniRef50Like:
    """Proteins of log-normal lengths, 311 residues on average: 14 B residues of 45 M proteins (Ankh paper).

    Their residues are all the same, which costs what real ones do.
    """

    def __init__(self, vocab: Vocab, num_proteins: int = 20_000):
        self.vocab = vocab
        drawn = np.random.default_rng(0).lognormal(math.log(202.6), 0.93, num_proteins)
        self.lengths: NDArray[np.integer] = np.clip(drawn, 11, 35_000).astype(np.int64)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """As `Corpus.gather`."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[indices])])
        return np.full(offsets[-1], self.vocab.residue_ids[0], np.uint8), offsets
