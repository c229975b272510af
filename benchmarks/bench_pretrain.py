"""Pre-training on one core: training steps beside transformers' T5 with padding collators, and the data path alone.

    python benchmarks/bench_pretrain.py [--corpus CORPUS]      prints the tables; --out writes them to PRETRAIN.md

The first table trains the same network by the same objective on the same real proteins, whole up to 512 residues, ours
packed, theirs padded: in the corpus's order, as a collator gets them, and sorted by length within a window of 1,024
proteins, the best that padding can do. The second reads, corrupts and packs a corpus on disk, and holds that against
what a model takes in on an H100 at 40 % of its peak, by arithmetic.
"""

import argparse
import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bench import machine
from bench_train import LoadedProteins, PaddedBatch, successive
from measuring import BUNDLED_PROTEINS, Timing, draw_proteins, interleaved
from torch import Tensor, nn

from openankh.config import ModelConfig
from openankh.corpus import Corpus
from openankh.files import write_file_atomically
from openankh.objectives import Objective
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Batch, Batches, PackingSettings, Turns
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.flops import training_flops
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.optimisers import OptimiserSettings, clip_gradients
from openankh.pretraining.recipes import Recipe, ankh_base, nano, small
from openankh.pretraining.trainer import DTYPES, Trainer
from openankh.vocab import Vocab

FOLDER = Path(__file__).resolve().parent
CPU = torch.device("cpu")
WINDOW = 1024
H100_FLOPS, UTILISATION = 989e12, 0.4
"""Dense bf16 operations a second of NVIDIA's data sheet, and the share of them that training is hoped to use."""
GOAL_SPEED, GOAL_DATA = 2.0, 10.0


def trained(model: ModelConfig, dtype: str, tokens: int) -> Recipe:
    """What both sides train: whole proteins up to 512 residues, AdamW, every target counting 1."""
    return replace(
        nano(),
        model=model,
        objective=Objective(),
        packing=PackingSettings(tokens=tokens, crop=512),
        optimiser=OptimiserSettings("adamw", learning_rate=1e-3),
        other_targets=1.0,
        encoder_loss=0.0,
        initialisation="published",
        dtype=dtype,  # type: ignore[arg-type]
    )


class Peer:
    """Transformers' T5 in a plain loop with torch's fused AdamW, from the same weights."""

    def __init__(self, trainer: Trainer) -> None:
        import transformers

        settings = {name: value for name, value in trainer.recipe.model.to_hf().items() if name != "architectures"}
        model: Any = transformers.T5ForConditionalGeneration._from_config(
            transformers.T5Config(**settings), attn_implementation="sdpa"
        )
        model.lm_head.weight = nn.Parameter(torch.empty_like(trainer.model.head_weight))
        model.load_state_dict(
            {name: t.detach().clone() for name, t in trainer.model.state_dict().items()}, strict=False
        )
        self.model = model.train()
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), fused=True)
        self.is_bf16 = trainer.recipe.dtype == "bf16"

    def loss(self, batch: PaddedBatch) -> Tensor:
        """Mean loss of the targets."""
        with torch.autocast("cpu", torch.bfloat16) if self.is_bf16 else contextlib.nullcontext():
            return self.model(input_ids=batch.inputs, attention_mask=batch.mask, labels=batch.labels).loss

    def train(self, batches: Sequence[PaddedBatch]) -> None:
        """A step over each batch."""
        for batch in batches:
            self.loss(batch).backward()
            clip_gradients(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad()


@dataclass(frozen=True)
class Work:
    """The steps of a round: our batches, and the same proteins with the same residues hidden, one by one."""

    batches: tuple[Batch, ...]

    @property
    def num_tokens(self) -> int:
        """Of encoder and decoder, padding not counted."""
        return sum(len(batch.inputs.ids) + len(batch.targets.ids) for batch in self.batches)

    def padded(self, num_tokens: int, is_sorted: bool) -> list[PaddedBatch]:
        """Batches of at most so many padded encoder tokens; by length, the shortest first, when sorted."""
        pairs = [pair for batch in self.batches for pair in zip(batch.inputs, batch.targets, strict=True)]
        np.random.default_rng(0).shuffle(pairs)  # type: ignore[arg-type]
        if is_sorted:
            windows = [pairs[start : start + WINDOW] for start in range(0, len(pairs), WINDOW)]
            pairs = [pair for window in windows for pair in sorted(window, key=lambda pair: len(pair[0]))]
        return [collated(group) for group in within(pairs, num_tokens)]


def within(pairs: Sequence[tuple[Any, Any]], num_tokens: int) -> Iterator[list[tuple[Any, Any]]]:
    """Neighbours together, as many as `num_tokens` hold when all are padded to the longest."""
    group: list[tuple[Any, Any]] = []
    longest = 0
    for pair in pairs:
        longest = max(longest, len(pair[0]))
        if group and longest * (len(group) + 1) > num_tokens:
            yield group
            group, longest = [], len(pair[0])
        group.append(pair)
    if group:
        yield group


def collated(pairs: Sequence[tuple[Any, Any]]) -> PaddedBatch:
    """What a collator makes of these examples."""
    inputs, targets = (Packed.join([pair[side] for pair in pairs]) for side in (0, 1))
    return PaddedBatch.of_packed(inputs, targets)


def our_steps(trainer: Trainer, num_steps: int) -> None:
    """The first steps, their batches made and corrupted anew."""
    trainer.position = 0
    for _ in range(num_steps):
        trainer.update(0.01)


def measure_training(name: str, model: ModelConfig, dtype: str, options: argparse.Namespace) -> Iterator[str]:
    """The rows of a network in a number format."""
    recipe = trained(model, dtype, options.tokens)
    trainer = Trainer(recipe, LoadedProteins.of(draw_proteins(3000), recipe.vocab), CPU)
    work = Work(tuple(islice(successive(trainer.batches.at), options.steps)))
    peers = {
        collator(is_sorted, tokens): (Peer(trainer), work.padded(tokens, is_sorted))
        for is_sorted in (False, True)
        for tokens in options.padded
    }
    error = first_losses(trainer, work.batches[0], next(iter(peers.values()))[0])
    ways: dict[str, Callable[[], object]] = {"ours": lambda: our_steps(trainer, options.steps)}
    ways |= {key: lambda peer=peer, batches=batches: peer.train(batches) for key, (peer, batches) in peers.items()}
    timings = interleaved(ways, options.rounds, 1)
    ours = timings["ours"]
    for is_sorted in (False, True):
        how = min((collator(is_sorted, each) for each in options.padded), key=lambda each: timings[each].median)
        yield row((name, dtype, how), work.num_tokens, timings[how], ours, error)


def collator(is_sorted: bool, num_tokens: int) -> str:
    """How padded batches are made, in words."""
    return f"{'sorted' if is_sorted else 'in order'}, {num_tokens:,} padded tokens"


def first_losses(trainer: Trainer, batch: Batch, peer: Peer) -> tuple[float, float]:
    """The mean loss of the same batch by the same weights: theirs, ours."""
    with torch.no_grad():
        sums = batch_loss(
            trainer.model, batch, trainer.recipe.vocab, TargetWeights(), DTYPES[trainer.recipe.dtype], CPU
        )
        return float(peer.loss(PaddedBatch.of(batch))), float(sums.total) / sums.num_tokens


def row(what: Sequence[str], num_tokens: int, theirs: Timing, ours: Timing, losses: tuple[float, float]) -> str:
    """Rates by the median round; both ratios, by medians and by best rounds."""
    rates = " | ".join(f"{num_tokens / timing.median:,.0f}" for timing in (theirs, ours))
    ratios = f"{theirs.median / ours.median:.2f} ({theirs.best / ours.best:.2f})"
    return f"| {' | '.join(what)} | {rates} | {ratios} | {losses[0]:.4f}, {losses[1]:.4f} |"


# The data path.


def measure_data(corpus: Corpus, recipe: Recipe, num_batches: int, num_rounds: int) -> str:
    """The row of a recipe: residues a second of one core, what the model takes in, how many times as much."""
    batches = Batches(corpus, Order(len(corpus.lengths), 0), recipe.objective, recipe.packing, 0)
    turns = Turns(batches)
    rates: list[float] = []
    flops = residues = position = 0
    for number in range(num_rounds + 1):
        begin, made = time.process_time(), []
        for _ in range(num_batches):
            made.append(turns.at(position))
            position = made[-1].next_position
        seconds = time.process_time() - begin
        if number:
            rates.append(sum(batch.num_residues for batch in made) / seconds)
        flops += sum(training_flops(recipe.model, batch.inputs.lengths, batch.targets.lengths) for batch in made)
        residues += sum(batch.num_residues for batch in made)
    taken = UTILISATION * H100_FLOPS * residues / flops
    median = sorted(rates)[len(rates) // 2]
    return (
        f"| {recipe.name} | {recipe.packing.tokens:,} | {median / 1e6:.1f} | {taken / 1e6:.2f} | {median / taken:.1f} |"
    )


@contextlib.contextmanager
def corpus_of(folder: Path | None, vocab: Vocab) -> Iterator[Corpus]:
    """The corpus of a folder; without one, of the bundled proteins, which are few."""
    with TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary) / "corpus"
            prepare([BUNDLED_PROTEINS], folder, PrepareOptions(vocab=vocab))
        yield Corpus.open(folder)


def tables(options: argparse.Namespace) -> Iterator[str]:
    """All lines."""
    yield "| model | in | transformers' collator | its tokens/s | OpenAnkh, tokens/s | ratio (best rounds) | loss |"
    yield "|---|---|---|---|---|---|---|"
    for name in options.models:
        for dtype in options.dtypes:
            yield from measure_training(name, MODELS[name](), dtype, options)
    yield ""
    yield training_note(options)
    yield ""
    yield "| recipe | tokens a batch | M residues/s made by one core | M residues/s an H100 takes in | times as much |"
    yield "|---|---|---|---|---|"
    for recipe in (small(), ankh_base(), nano()):
        with corpus_of(options.corpus, recipe.vocab) as corpus:
            yield measure_data(corpus, recipe, options.batches, options.rounds)
    yield ""
    yield (
        f"Read from {'a memory-mapped corpus' if options.corpus else 'the bundled proteins'}, shuffled, cropped anew, "
        f"corrupted, packed; median of {options.rounds} rounds by CPU time. What an H100 takes in: "
        f"{H100_FLOPS / 1e12:.0f} TFLOP/s at {UTILISATION:.0%}, over the operations that these batches take forward "
        f"and backward. Goal: {GOAL_DATA:.0f} times for `small`."
    )


def training_note(options: argparse.Namespace) -> str:
    """What the first table measured."""
    sizes = ", ".join(f"{name} {MODELS[name]().num_parameters:,} parameters" for name in options.models)
    return (
        f"{sizes}; {options.steps} steps a round over packed batches of {options.tokens:,} encoder tokens, median of "
        f"{options.rounds} interleaved rounds after one that is not counted, one thread by CPU time. Tokens of encoder "
        "and decoder, padding not counted. Theirs: sdpa, autocast for bf16, torch's fused AdamW, batches padded "
        f"beforehand, {' or '.join(f'{each:,}' for each in options.padded)} tokens a batch, what is better. Ours "
        "makes and corrupts its batches inside the step. Loss: of the same batch and weights, theirs and ours. "
        f"Goal: {GOAL_SPEED:.0f} times."
    )


MODELS: dict[str, Callable[[], ModelConfig]] = {"nano": lambda: nano().model, "small": lambda: small().model}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, and write them where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a folder of `openankh prepare` for the data path")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--tokens", type=int, default=8192, help="encoder tokens of a packed batch")
    parser.add_argument("--padded", type=int, nargs="+", default=[4096, 8192], help="tokens of a padded batch, tried")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40, help="batches of a round of the data path")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    head = [*machine(), ""]
    print("\n".join(head), flush=True)
    lines: list[str] = []
    for line in tables(options):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        command = " ".join(["python", "benchmarks/bench_pretrain.py", *(arguments or sys.argv[1:])])
        title = ["# Pre-training on one core", "", f"`{command}`", ""]
        write_file_atomically(options.out, ("\n".join([*title, *head, *lines]) + "\n").encode())


if __name__ == "__main__":
    main()
