"""Pre-training on a GPU beside transformers' T5: tokens/s and utilisation at the shapes of the recipes, in one call.

    PYTHONPATH=src python benchmarks/gpu_pretrain.py --fasta PROTEINS.fasta.xz --out gpu_pretrain.md
    PYTHONPATH=src python benchmarks/gpu_pretrain.py --rehearse          the same on a CPU, tiny, to see that it runs

Needed: Python 3.11 or newer with torch 2.11 or newer, Triton, a C compiler, numpy and safetensors; transformers 5.17 or
newer for the rival, without which ours is measured alone. It ends within --minutes (7.5): what there was no time for is
said so, and what a way fails at stands in its row.

A step is forward, backward and the optimiser's, on whole proteins of up to 512 residues in bf16 with fp32 weights:
- OpenAnkh: packed, FlexAttention, layers compiled, batches made and corrupted by a thread beside, the recipe's own
  optimiser; also with layers computed again on the way back, which lets larger batches fit;
- both by the recipe's first objective alone, which hides residues;
- transformers: T5ForConditionalGeneration under autocast, sdpa, fused AdamW, the same proteins with the same residues
  hidden, padded beforehand; in the corpus's order, sorted by length, and sorted with every layer compiled, which is its
  best setting.
Each way tries batches from large to small and is timed at the largest that fits. Only real tokens are counted, of
encoder and decoder; utilisation is the operations that these need (see `flops`) over the data sheet's bf16 figure.
"""

import argparse
import contextlib
import gc
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_train import LoadedProteins, PaddedBatch
from gpu_embed import BUNDLED, sheet_peak
from measuring import RealProteins
from torch import nn

from openankh.fasta import FastaReader, ReadOptions
from openankh.packed import Packed
from openankh.packing import Batch
from openankh.pretraining.engine import Engine
from openankh.pretraining.flops import measured_peak, training_flops
from openankh.pretraining.recipes import Recipe, recipe_named
from openankh.pretraining.trainer import Trainer
from openankh.vocab import Vocab

SHAPES = ("small", "ankh_base", "ankh_large")
TINY = (
    "model.d_model=64", "model.d_ff=96", "model.d_kv=16", "model.num_heads=4", "model.num_encoder_layers=2",
    "model.num_decoder_layers=1", "packing.crop=128", "dtype=bf16",
)  # fmt: skip
OURS, RIVAL = "OpenAnkh", "transformers, sorted, layers compiled"
GOAL_RATIO, GOAL_SHARE = 3.0, 0.45


@dataclass(frozen=True)
class Plan:
    """How much is measured: where, batches tried, steps that are not counted, steps timed, and the deadline."""

    device: torch.device
    tokens: tuple[int, ...]
    num_warm: int
    num_timed: int
    deadline: float

    @property
    def is_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)


@dataclass
class Way:
    """One way to train: `start` makes ready for batches of so many tokens and gives a function that takes a step.

    A step tells its real tokens and the operations that they need.
    """

    name: str
    start: Callable[[int], Callable[[], tuple[int, int]]]
    num_tokens: int = 0
    rates: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    failure: str = ""
    peak_gib: float = 0.0


def ours(recipe: Recipe, proteins: LoadedProteins, plan: Plan, recompute: bool) -> Way:
    """Our trainer."""

    def start(num_tokens: int) -> Callable[[], tuple[int, int]]:
        sized = replace(recipe, packing=replace(recipe.packing, tokens=num_tokens), accumulation=1)
        trainer = Trainer(sized, proteins, plan.device, engine=Engine(recompute=recompute))
        targets = num_targets(trainer)

        def step() -> tuple[int, int]:
            position = trainer.position
            update = trainer.update(0.01)
            return update.num_tokens_read + targets(position), update.flops

        return step

    return Way(f"{OURS}, layers computed again" if recompute else OURS, start)


def num_targets(trainer: Trainer) -> Callable[[int], int]:
    """The decoder tokens of the batch at a position: of each protein as many as its residues hidden, and more."""
    seen: list[int] = []
    add_gradients = trainer.loss.add_gradients

    def counting(batch: Batch, *arguments: Any, **named: Any) -> Any:
        seen.append(len(batch.targets.ids))
        return add_gradients(batch, *arguments, **named)

    trainer.loss.add_gradients = counting
    return lambda position: seen[-1]


class Peer:
    """Transformers' T5 of a recipe's shape, and what is needed to train it."""

    def __init__(self, recipe: Recipe, plan: Plan, compiled: bool) -> None:
        import transformers

        settings = {name: value for name, value in recipe.model.to_hf().items() if name != "architectures"}
        settings["use_cache"] = False
        torch.manual_seed(0)
        with plan.device:
            model: Any = transformers.T5ForConditionalGeneration._from_config(
                transformers.T5Config(**settings), attn_implementation="sdpa"
            )
        self.model: nn.Module = model.train()
        if compiled:
            for block in [*model.encoder.block, *model.decoder.block]:
                # On a GPU the kernels that inductor writes; elsewhere that the layers can be traced at all.
                block.compile(dynamic=True, backend="inductor" if plan.is_gpu else "eager")
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        self.device = plan.device

    def train(self, batch: PaddedBatch) -> None:
        """One step."""
        inputs, mask, labels = (each.to(self.device) for each in (batch.inputs, batch.mask, batch.labels))
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.model(input_ids=inputs, attention_mask=mask, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def theirs(recipe: Recipe, proteins: LoadedProteins, plan: Plan, is_sorted: bool, compiled: bool) -> Way:
    """Transformers' model in a plain loop."""

    def start(num_tokens: int) -> Callable[[], tuple[int, int]]:
        batches = endless(list(padded_batches(recipe, proteins, num_tokens, is_sorted)))
        peer = Peer(recipe, plan, compiled)

        def step() -> tuple[int, int]:
            batch, sources, targets = next(batches)
            peer.train(batch)
            return int(sources.sum() + targets.sum()), training_flops(recipe.model, sources, targets)

        return step

    name = "transformers, sorted" if is_sorted else "transformers, in order"
    return Way(f"{name}, layers compiled" if compiled else name, start)


def padded_batches(
    recipe: Recipe, proteins: LoadedProteins, num_tokens: int, is_sorted: bool
) -> Iterator[tuple[PaddedBatch, np.ndarray, np.ndarray]]:
    """Padded batches of at most so many encoder tokens, in a random order, with the lengths of both sides."""
    examples = recipe.objectives[0].examples(cropped(proteins, recipe), recipe.vocab, np.random.default_rng(0))
    lengths = examples.inputs.lengths
    order = np.argsort(lengths, kind="stable") if is_sorted else np.arange(len(lengths))
    groups: list[list[int]] = [[]]
    for number in order.tolist():
        longest = max((int(lengths[each]) for each in [*groups[-1], number]), default=0)
        if groups[-1] and rounded(longest) * (len(groups[-1]) + 1) > num_tokens:
            groups.append([])
        groups[-1].append(number)
    for place in np.random.default_rng(1).permutation(len(groups)):
        inputs = Packed.join([examples.inputs[number] for number in groups[place]])
        targets = Packed.join([examples.targets[number] for number in groups[place]])
        yield widened(PaddedBatch.of_packed(inputs, targets)), inputs.lengths, targets.lengths


def cropped(proteins: LoadedProteins, recipe: Recipe) -> Packed:
    """All proteins, the long ones cut."""
    return Packed.join([sequence[: recipe.packing.crop].astype(np.uint8) for sequence in proteins.packed])


def rounded(length: int) -> int:
    """A length that kernels like."""
    return -(-length // 8) * 8


def widened(batch: PaddedBatch) -> PaddedBatch:
    """Padded further, to lengths that kernels like."""

    def wide(tensor: torch.Tensor, value: int) -> torch.Tensor:
        return nn.functional.pad(tensor, (0, rounded(tensor.shape[1]) - tensor.shape[1]), value=value)

    return PaddedBatch(wide(batch.inputs, 0), wide(batch.mask, 0), wide(batch.labels, -100))


def endless(batches: Sequence[Any]) -> Iterator[Any]:
    """The batches again and again."""
    while True:
        yield from batches


def measure(way: Way, plan: Plan, end: float) -> None:
    """Time a way's steps at the largest batch that fits, until there are enough or time is up."""
    for num_tokens in plan.tokens:
        if time.perf_counter() > end:
            way.failure = way.failure or "no time left"
            return
        way.failure, way.num_tokens = "", num_tokens
        try:
            time_steps(way, plan, end)
            return
        except torch.OutOfMemoryError:
            way.failure = "out of memory"
        except Exception as error:  # whatever a compiler can raise
            way.failure = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            return
        finally:
            gc.collect()
            if plan.is_gpu:
                torch.cuda.empty_cache()


def time_steps(way: Way, plan: Plan, end: float) -> None:
    """Take steps, and keep the rates of those after the first ones."""
    if plan.is_gpu:
        torch.cuda.reset_peak_memory_stats(plan.device)
    step = way.start(way.num_tokens)
    for number in range(plan.num_warm + plan.num_timed):
        if len(way.rates) >= 3 and time.perf_counter() > end:
            break
        plan.wait()
        begin = time.perf_counter()
        num_tokens, flops = step()
        plan.wait()
        seconds = time.perf_counter() - begin
        if number >= plan.num_warm:
            way.rates.append(num_tokens / seconds)
            way.flops.append(flops / seconds)
    if plan.is_gpu:
        way.peak_gib = torch.cuda.max_memory_allocated(plan.device) / 2**30


def ways(recipe: Recipe, proteins: LoadedProteins, plan: Plan) -> list[Way]:
    """All ways, those first that decide."""
    made = [ours(recipe, proteins, plan, recompute=False)]
    if importlib.util.find_spec("transformers"):
        made += [theirs(recipe, proteins, plan, is_sorted, compiled) for is_sorted, compiled in
                 ((True, True), (True, False), (False, False))]  # fmt: skip
    return [*made, ours(recipe, proteins, plan, recompute=True)]


def table(name: str, recipe: Recipe, ways: Sequence[Way], peak: float) -> list[str]:
    """The rows of a shape: medians over steps."""
    base = next((statistics.median(way.rates) for way in ways if way.name == OURS and way.rates), None)
    rows = []
    for way in ways:
        if not way.rates:
            rows.append(f"| {name} | {way.name} | {way.failure or 'no time left'} | | | | |")
            continue
        rate, flops = statistics.median(way.rates), statistics.median(way.flops)
        ratio = f"{base / rate:.2f}" if base and not way.name.startswith(OURS) else ""
        rows.append(
            f"| {name} | {way.name}, {way.num_tokens:,} tokens | {rate:,.0f} | {flops / 1e12:.3g} | {flops / peak:.1%} "
            f"| {way.peak_gib:.1f} | {ratio} |"
        )
    return rows


def verdict(name: str, ways: Sequence[Way], peak: float) -> Iterator[str]:
    """How ours stands to the best of the rival, and to the goal of utilisation."""
    mine = [way for way in ways if way.name.startswith(OURS) and way.rates]
    rivals = [way for way in ways if not way.name.startswith(OURS) and way.rates]
    if not mine:
        return
    best = max(mine, key=lambda way: statistics.median(way.rates))
    share = statistics.median(best.flops) / peak
    yield f"- {name}: utilisation {share:.1%} (goal {GOAL_SHARE:.0%} for ankh_large)"
    if rivals:
        ratio = statistics.median(best.rates) / max(statistics.median(way.rates) for way in rivals)
        yield f"- {name}: {ratio:.2f} times the fastest rival's tokens/s (goal {GOAL_RATIO:g})"


def read_proteins(path: Path, vocab: Vocab, most: int) -> LoadedProteins:
    """Proteins of a file in a random order, and at most so many."""
    records = list(FastaReader(path, ReadOptions(letters=vocab.letters, unknown="x")))
    order = np.random.default_rng(0).permutation(len(records))[:most]
    return LoadedProteins.of(RealProteins(tuple(records[number] for number in order), path.name), vocab)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, and write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", type=Path, default=BUNDLED, help="real proteins; the bundled 216 are too few")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, a tiny network, a step each")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch._dynamo.config.recompile_limit = 64
    deadline = time.perf_counter() + 60 * options.minutes
    plan = Plan(torch.device("cuda"), (65_536, 32_768, 16_384, 8_192, 4_096), 6, 20, deadline)
    if options.rehearse:
        plan = replace(plan, device=torch.device("cpu"), tokens=(1024,), num_warm=1, num_timed=1)
    names = options.shapes[:1] if options.rehearse else options.shapes
    recipes = [recipe_named(name, TINY if options.rehearse else ()) for name in names]
    shapes = {recipe.name: replace(recipe, objective=recipe.objectives[0]) for recipe in recipes}
    lines = [
        "| shape | way, bf16 | tokens/s | TFLOP/s | of the data sheet | GiB | OpenAnkh is so many times as fast |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    peak = sheet_peak(plan.device) or measured_peak(plan.device, torch.bfloat16)
    goals: list[str] = []
    for number, (name, recipe) in enumerate(shapes.items()):
        end = time.perf_counter() + (deadline - time.perf_counter()) / (len(shapes) - number)
        rows, told = measure_shape(name, recipe, plan, end, peak, options.fasta)
        lines, goals = lines + rows, goals + told
    lines += ["", *goals, machine(plan, options.fasta, peak)]
    print("\n".join(line for line in lines if not line.startswith("|")))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def measure_shape(
    name: str, recipe: Recipe, plan: Plan, end: float, peak: float, fasta: Path
) -> tuple[list[str], list[str]]:
    """The rows and verdicts of a shape."""
    proteins = read_proteins(fasta, recipe.vocab, 20_000)
    made = ways(recipe, proteins, plan)
    for number, way in enumerate(made):
        left = end - time.perf_counter()
        measure(way, plan, time.perf_counter() + left / (len(made) - number))
    rows = table(name, recipe, made, peak)
    print("\n".join(rows), flush=True)
    return rows, list(verdict(name, made, peak))


def machine(plan: Plan, fasta: Path, peak: float) -> str:
    """What it was measured on and with."""
    name = torch.cuda.get_device_name(plan.device) if plan.is_gpu else "CPU (a rehearsal: no figure means anything)"
    rival = "transformers is not installed"
    with contextlib.suppress(ImportError):
        import transformers

        rival = f"transformers {transformers.__version__}"
    return (
        f"- {name}, {peak / 1e12:.0f} TFLOP/s; torch {torch.__version__}, {rival}; proteins of {fasta.name}, random "
        f"weights; medians over at most {plan.num_timed} steps; {' '.join(sys.argv)}"
    )


if __name__ == "__main__":
    main()
