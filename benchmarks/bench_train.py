"""A training step of the nano recipe, beside transformers' T5ForConditionalGeneration on the same proteins, padded."""

import argparse
import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from measuring import RealProteins, Timing, draw_proteins, interleaved
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from openankh.packed import Packed
from openankh.packing import Batch
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.optimisers import OptimiserSettings, build_optimiser, clip_gradients
from openankh.pretraining.recipes import Recipe, nano
from openankh.pretraining.trainer import Trainer
from openankh.vocab import PAD, Vocab

CPU = torch.device("cpu")


@dataclass(frozen=True)
class LoadedProteins:
    """Proteins in memory, as batches are made from them."""

    vocab: Vocab
    lengths: NDArray[np.int64]
    packed: Packed

    @classmethod
    def of(cls, proteins: RealProteins, vocab: Vocab) -> "LoadedProteins":
        """Encode drawn proteins."""
        packed = Packed(*vocab.encode_batch([record.sequence for record in proteins.records]))
        return cls(vocab, packed.lengths, packed)

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The proteins of these numbers end to end, and their offsets."""
        joined = Packed.join([self.packed[int(index)] for index in indices])
        return joined.ids.astype(np.uint8), joined.offsets


@dataclass(frozen=True)
class PaddedBatch:
    """What a padding collator makes of a batch: (B, longest); labels are -100 where nothing is asked."""

    inputs: Tensor
    mask: Tensor
    labels: Tensor

    @classmethod
    def of(cls, batch: Batch) -> "PaddedBatch":
        """Pad the sequences of a packed batch."""
        return cls.of_packed(batch.inputs, batch.targets)

    @classmethod
    def of_packed(cls, packed_inputs: Packed, packed_targets: Packed) -> "PaddedBatch":
        """Pad inputs and targets of the same proteins."""
        inputs, targets = rows(packed_inputs), rows(packed_targets)
        return cls(
            pad_sequence(inputs, batch_first=True, padding_value=PAD),
            pad_sequence([torch.ones_like(row) for row in inputs], batch_first=True),
            pad_sequence(targets, batch_first=True, padding_value=-100),
        )


def rows(packed: Packed) -> list[Tensor]:
    """Each sequence as int64."""
    return [torch.from_numpy(ids.astype(np.int64)) for ids in packed]


class Peer:
    """Transformers' model and loss in a plain loop, in fp32 or under autocast; starts from the trainer's weights."""

    def __init__(self, trainer: Trainer, optimiser: OptimiserSettings, autocast: bool) -> None:
        import transformers

        settings = {name: value for name, value in trainer.recipe.model.to_hf().items() if name != "architectures"}
        model: Any = transformers.T5ForConditionalGeneration._from_config(
            transformers.T5Config(**settings), attn_implementation="sdpa"
        )
        model.lm_head.weight = nn.Parameter(torch.empty_like(trainer.model.head_weight))
        weights = {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}
        model.load_state_dict(weights, strict=False)
        self.model = model.train()
        self.optimiser = build_optimiser(model, optimiser)
        self.clip_norm = trainer.recipe.clip_norm
        self.autocast = autocast

    def loss(self, batch: PaddedBatch) -> Tensor:
        """Mean loss of the targets."""
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else contextlib.nullcontext():
            return self.model(input_ids=batch.inputs, attention_mask=batch.mask, labels=batch.labels).loss

    def update(self, batch: PaddedBatch) -> None:
        """One step."""
        self.loss(batch).backward()
        clip_gradients(self.model.parameters(), self.clip_norm)
        self.optimiser.step(0.01)
        self.optimiser.zero_grad()


def build(recipe: Recipe, num_steps: int) -> tuple[Trainer, list[Batch]]:
    """A trainer on real proteins, and the batches of its first steps."""
    proteins = LoadedProteins.of(draw_proteins(3000), recipe.vocab)
    trainer = Trainer(recipe, proteins, CPU)
    with torch.no_grad():  # away from a head of zeros, whose loss would say nothing
        for parameter in trainer.model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return trainer, list(islice(successive(trainer.batches.at), num_steps))


def successive(at: Callable[[int], Batch]) -> Iterator[Batch]:
    """Batches one after the other."""
    position = 0
    while True:
        batch = at(position)
        yield batch
        position = batch.next_position


def our_steps(trainer: Trainer, num_steps: int) -> None:
    """The first steps over the first batches, made and corrupted anew."""
    trainer.position = 0
    for _ in range(num_steps):
        trainer.update(0.01)


def first_loss(trainer: Trainer, batch: Batch) -> float:
    """Our mean loss of the targets, unweighted, as transformers' is."""
    with torch.no_grad():
        sums = batch_loss(trainer.model, batch, trainer.recipe.vocab, TargetWeights(), torch.bfloat16, CPU)
    return float(sums.total) / sums.num_tokens


def measure(num_threads: int, num_steps: int, num_rounds: int) -> Iterator[str]:
    """The lines of the table for so many threads."""
    recipe = nano()
    trainer, batches = build(recipe, num_steps)
    padded = [PaddedBatch.of(batch) for batch in batches]
    adamw = OptimiserSettings("adamw", learning_rate=recipe.optimiser.learning_rate)
    peers = {
        "bf16 autocast": Peer(trainer, recipe.optimiser, autocast=True),
        "fp32": Peer(trainer, recipe.optimiser, autocast=False),
        "bf16 autocast, AdamW alone": Peer(trainer, adamw, autocast=True),
    }
    losses = [first_loss(trainer, batches[0]), *(float(peer.loss(padded[0]).detach()) for peer in peers.values())]

    def run_peer(peer: Peer) -> None:
        for batch in padded:
            peer.update(batch)

    ways: dict[str, Callable[[], None]] = {"ours": lambda: our_steps(trainer, num_steps)}
    ways |= {name: lambda peer=peer: run_peer(peer) for name, peer in peers.items()}
    timings = interleaved(ways, num_rounds, num_threads)
    num_tokens = sum(len(batch.inputs.ids) + len(batch.targets.ids) for batch in batches)
    for name, loss in zip(peers, losses[1:], strict=True):
        yield row(name, num_threads, num_tokens, timings[name], timings["ours"], (loss, losses[0]))


def row(how: str, num_threads: int, num_tokens: int, theirs: Timing, ours: Timing, losses: tuple[float, float]) -> str:
    """Rates by the median round; both ratios, by medians and by best rounds."""
    ratios = f"{theirs.median / ours.median:.2f} ({theirs.best / ours.best:.2f})"
    rates = [f"{num_tokens / timing.median:,.0f}" for timing in (theirs, ours)]
    return f"| {how} | {num_threads} | {' | '.join(rates)} | {ratios} | {losses[0]:.3f}, {losses[1]:.3f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    print("| transformers in | threads | their tokens/s | OpenAnkh, tokens/s | ratio (best rounds) | first loss |")
    print("|---|---|---|---|---|---|")
    for num_threads in options.threads:
        for line in measure(num_threads, options.steps, options.rounds):
            print(line, flush=True)
    print(
        f"\nRecipe nano: {nano().model.num_parameters:,} parameters, batches of {nano().packing.tokens:,} encoder "
        f"tokens, bf16, Muon; {options.steps} steps a round, median of {options.rounds} interleaved rounds: one thread "
        "by CPU time, more by wall. Tokens of encoder and decoder, padding not counted. transformers: the same "
        "proteins, padded beforehand, sdpa, clipped gradients, the same optimiser where no other is named. Ours makes "
        "and corrupts its batches inside the step and adds the recipe's loss on encoder states. First loss: theirs, "
        "ours, of the same weights and batch."
    )


if __name__ == "__main__":
    main()
