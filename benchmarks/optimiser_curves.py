"""How few tokens an optimiser needs: Adafactor as published beside Muon and AdamW, on the same proteins and model.

    python benchmarks/optimiser_curves.py run --corpus CORPUS --work WORK      train what is not trained yet
    python benchmarks/optimiser_curves.py report --work WORK                   write OPTIMISERS.md and its picture

Every run is an ordinary one of `pretrain` in a folder of its own under WORK, so that a stopped call goes on where it
was. Each way is given a search of its learning rate: Adafactor on all tokens, ours on half of them, where it is held
against the best of Adafactor. Every run's learning rate has fallen to its end when its last validation is taken.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from bench import machine

from openankh.config import ModelConfig
from openankh.files import write_file_atomically
from openankh.pretraining.journal import read_journal
from openankh.pretraining.optimisers import OptimiserSettings
from openankh.pretraining.progress import PlainProgress
from openankh.pretraining.recipes import Recipe, nano
from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.schedule import Schedule
from openankh.pretraining.training_run import pretrain

FOLDER = Path(__file__).resolve().parent
MODEL = ModelConfig(
    vocab_size=256, d_model=128, d_ff=320, d_kv=32, num_heads=4, num_encoder_layers=4, num_decoder_layers=1
)
ALL_STEPS = 4_500
VALIDATIONS = 9
PUBLISHED = "Adafactor as published"
MUON = "Muon and AdamW"
RATES = {
    PUBLISHED: (4e-3, 1.2e-2),
    MUON: (0.0025, 0.005),
}
"""Peak learning rates searched; with Muon that of the matrices. Ankh base was trained at 4e-3, the paper's ablations at
1e-2. Wider searches on a sixth of these tokens chose the rates tried here."""


@dataclass(frozen=True)
class Run:
    """One training: a way to learn, its learning rate, the share of the tokens, and the seed of weights and order."""

    way: str
    rate: float
    share: float = 1.0
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its folder."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.way.lower())
        return f"{words}_{self.rate:g}_{self.share:g}_{self.seed}"

    @property
    def recipe(self) -> Recipe:
        """What is trained; the batches are the same whatever the way."""
        steps = round(ALL_STEPS * self.share)
        recipe = replace(
            nano(),
            name="curve",
            model=MODEL,
            total_steps=steps,
            seed=self.seed,
            valid_every=math.ceil(steps / VALIDATIONS),
            valid_tokens=150_000,
            checkpoint_every=250,
            keep_checkpoints=1,
        )
        return _changed(recipe, self.way, self.rate)


def _changed(recipe: Recipe, way: str, rate: float) -> Recipe:
    """The recipe with what the way changes of it."""
    if way == PUBLISHED:
        recipe = replace(recipe, optimiser=OptimiserSettings("adafactor", learning_rate=rate, parameter_scale=True))
    else:
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, matrix_learning_rate=rate))
    recipe = replace(recipe, initialisation="published", other_targets=1.0, encoder_loss=0.0)
    return replace(recipe, schedule=Schedule("linear")) if way == PUBLISHED else recipe


def searched() -> list[Run]:
    """The search of learning rates: the baselines on all tokens, ours on half of them."""
    return [Run(way, rate, searched_share(way)) for way, rates in RATES.items() for rate in rates]


def searched_share(way: str) -> float:
    """The share of the tokens at which a way's learning rate is chosen."""
    return 1.0 if way == PUBLISHED else 0.5


def compared(work: Path) -> Iterator[Run]:
    """What is trained when the search is done: a second seed of the baseline and of the rival."""
    for way in (PUBLISHED, MUON):
        yield Run(way, best_rate(work, way), searched_share(way), seed=1)


def best_rate(work: Path, way: str) -> float:
    """The searched learning rate with the lowest last validation."""
    runs = [Run(way, rate, searched_share(way)) for rate in RATES[way]]
    return min((run for run in runs if is_finished(work, run)), key=lambda run: last_loss(work, run)).rate


def validations(work: Path, run: Run, what: str = "residue_loss") -> list[tuple[int, float]]:
    """Encoder tokens read and a loss at each validation: of hidden residues, or (`loss`) of all targets."""
    lines = read_journal(work / run.name)
    tokens = {line["step"]: line["total_tokens"] for line in lines if line["kind"] == "train"}
    return [(tokens[line["step"]], float(line[what])) for line in lines if line["kind"] == "valid"]


def last_loss(work: Path, run: Run, what: str = "residue_loss") -> float:
    """At the end of a finished run."""
    return validations(work, run, what)[-1][1]


def is_finished(work: Path, run: Run) -> bool:
    """Whether a run is through."""
    return (work / run.name / "cost.json").exists()


def train(run: Run, corpus: Path, work: Path) -> None:
    """Train a run to its end, from where it is."""
    if is_finished(work, run):
        return
    out = work / run.name
    print(f"{run.name} …", flush=True)
    begin = time.process_time()
    options = RunOptions(corpus, out, resume=(out / "run.json").exists())
    summary = pretrain(run.recipe, options, PlainProgress(seconds_between_lines=60))
    if not summary.finished:
        raise SystemExit("stopped; the same command goes on")
    seconds = time.process_time() - begin
    (out / "cost.json").write_text(json.dumps({"cpu_seconds": seconds, "whole": not options.resume}) + "\n")


def report(work: Path) -> str:
    """The page: verdict, table, picture, conditions."""
    runs = [run for run in [*searched(), *compared(work)] if is_finished(work, run)]
    full = Run(PUBLISHED, best_rate(work, PUBLISHED))
    lines = ["# How few tokens an optimiser needs", "", *machine(), ""]
    lines += [
        f"`python benchmarks/optimiser_curves.py run --corpus CORPUS --work WORK`, {MODEL.num_parameters:,} parameters "
        f"({MODEL.num_encoder_layers} encoder layers, {MODEL.num_decoder_layers} decoder layer, width "
        f"{MODEL.d_model}), {full.recipe.packing.tokens:,} encoder tokens a step, one thread. All runs of one seed "
        "read the same batches in the same order. Loss: nats a hidden residue of held-out 50 % clusters, 20 % hidden, "
        "the same ones for all (the unigram's is about 2.89).",
        "",
        *verdicts(work),
        "",
        "![curves](OPTIMISERS.png)",
        "",
        "| way | learning rate | encoder tokens | seed | loss | perplexity | loss of all targets | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
        *(row(work, run) for run in runs),
        "",
        *NOTES,
    ]
    return "\n".join(lines) + "\n"


NOTES = (
    "Adafactor as published: T5's initial weights, a linear fall, steps in proportion to a matrix's size. Muon "
    "and AdamW: Muon for the matrices, AdamW at 0.003 for the rest, a constant rate that falls in the second "
    "half; queries at an eighth of the rate. Both begin with T5's initial weights, every target counts 1, "
    "gradients are clipped at norm 1, the warm-up is 50 steps. The rates of Muon were searched on half of the "
    "tokens, those of Adafactor on all. CPU seconds include validations; a run that was interrupted tells none.",
    "",
    "On a sixth of these tokens wider searches were made: Adafactor at 0.004, 0.012 and 0.036 came to 2.8452, "
    "2.8395 and 2.8474, Muon on half of them at 0.005, 0.01 and 0.02 to 2.8433, 2.8448 and 2.8495, with a linear "
    "fall to 2.8450 (0.005) and 2.8447 (0.01), and with the beginning of recipe `nano` to 2.8546; Adafactor with "
    "that beginning to 2.8701.",
)


def row(work: Path, run: Run) -> str:
    """A run of the table."""
    tokens, loss = validations(work, run)[-1]
    cost = json.loads((work / run.name / "cost.json").read_text())
    seconds = f"{cost['cpu_seconds']:,.0f}" if cost["whole"] else ""
    of_all = last_loss(work, run, "loss")
    return (
        f"| {run.way} | {run.rate:g} | {tokens:,} | {run.seed} | {loss:.4f} | {math.exp(loss):.3f} | {of_all:.4f} | "
        f"{seconds} |"
    )


def verdicts(work: Path) -> Iterator[str]:
    """Whether half of the tokens reach each baseline's loss: of hidden residues, and of all targets."""
    for seed in (0, 1):
        for way, rival, rate in (
            (MUON, PUBLISHED, RATES[PUBLISHED][0]),
            (MUON, PUBLISHED, best_rate(work, PUBLISHED)),
        ):
            half = Run(way, best_rate(work, way), 0.5, seed)
            baseline = Run(rival, rate, seed=seed)
            if is_finished(work, half) and is_finished(work, baseline):
                told = "; ".join(
                    f"{name} {compared_losses(work, half, baseline, what)}"
                    for name, what in (("hidden residues", "residue_loss"), ("all targets", "loss"))
                )
                yield f"- seed {seed}: {way}, on half of the tokens, beside {rival} at {rate:g} on all: {told}"
                tokens = validations(work, half)[-1][0] / tokens_to_reach(work, baseline, last_loss(work, half))
                yield f"- that is {tokens:.0%} of the tokens with which the latter comes to that loss of residues"


def tokens_to_reach(work: Path, run: Run, loss: float) -> float:
    """Encoder tokens after which a run is at a loss for good, between its validations in proportion; NaN: never."""
    curve = validations(work, run)
    for (before, high), (after, low) in zip(curve[-2::-1], curve[:0:-1], strict=True):
        if low <= loss <= high:
            return before + (high - loss) / (high - low) * (after - before)
    return math.nan


def compared_losses(work: Path, half: Run, baseline: Run, what: str) -> str:
    """Both losses, and whether the baseline's is reached."""
    ours, theirs = last_loss(work, half, what), last_loss(work, baseline, what)
    return f"{ours:.4f} and {theirs:.4f}, **{'reached' if ours <= theirs else 'not reached'}**"


def draw(work: Path, path: Path) -> None:
    """The curves of the first seed, each run's validations over the tokens read."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=110)
    colours = {PUBLISHED: "tab:grey", MUON: "tab:green"}
    for way, colour in colours.items():
        for share, style in ((1.0, "-"), (0.5, "--")):
            run = Run(way, best_rate(work, way), share)
            if is_finished(work, run):
                tokens, losses = zip(*validations(work, run), strict=True)
                millions = [each / 1e6 for each in tokens]
                axes.plot(
                    millions, losses, style, color=colour, marker=".", label=f"{way}, {millions[-1]:.2f} M tokens"
                )
    axes.set_xlabel("encoder tokens read, millions")
    axes.set_ylabel("validation loss, nats a hidden residue")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("run", "report"))
    parser.add_argument("--corpus", type=Path, help="a folder of `openankh prepare` with a validation split")
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args(arguments)
    if options.verb == "run":
        if options.corpus is None:
            parser.error("run needs --corpus")
        torch.set_num_threads(1)
        for run in searched():
            train(run, options.corpus, options.work)
        for run in compared(options.work):
            train(run, options.corpus, options.work)
        return
    write_file_atomically(FOLDER / "OPTIMISERS.md", report(options.work).encode())
    draw(options.work, FOLDER / "OPTIMISERS.png")


if __name__ == "__main__":
    main()
