"""Train a model to be bundled on a bare GPU machine: one call from FASTA to a model folder, continued in slices.

    PYTHONPATH=src python benchmarks/gpu_train_bundled.py train TRAIN.fasta.xz --valid VALID.fasta.xz --work WORK \
        --out OUT --minutes 30 --slice-minutes 8 [--recipe nano_gpu] [--settings KEY=VALUE ...]
    PYTHONPATH=src python benchmarks/gpu_train_bundled.py train ... the same ... [--pieces FOLDER]     the next slice
    PYTHONPATH=src python benchmarks/gpu_train_bundled.py fetch --work WORK --out OUT --set state --numbers 4-7
    PYTHONPATH=src python benchmarks/gpu_train_bundled.py join OUT/model-*.piece --out MODEL

Needed: Python 3.11 or newer with torch 2.11 or newer, numpy and safetensors. Nothing else is imported; where
safetensors is missing, bring its wheel: `pip install --no-index --no-deps safetensors-*.whl`. Compiled kernels need
Triton and a C compiler; without them, or where they disagree or are slower, plain ones are used (`--kernels` decides).

WORK keeps corpus, run and pieces from slice to slice. Where the machine does not stay, give the pieces of the last
slice with --pieces: both sets, `state` (run and newest checkpoint: 8 pieces for nano_gpu) and `model` (the best one in
bf16: 2 pieces). A piece has at most 15 MiB; --numbers chooses those that OUT gets (of `state`; the model always).
OUT/report.json tells what was reached. The exit code is 0 when the run is finished, 75 when another slice is due.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pieces
import torch

from openankh.attention import is_compiled
from openankh.checkpoint import load_model, save_model
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.evaluation import evaluate
from openankh.pretraining.journal import read_journal
from openankh.pretraining.progress import PlainProgress
from openankh.pretraining.recipes import Recipe, recipe_named
from openankh.pretraining.run_options import RunOptions, Summary
from openankh.pretraining.trainer import DTYPES, Trainer
from openankh.pretraining.training_run import pretrain
from openankh.provenance import Provenance
from openankh.selection import Selection

HOLDOUT = 0.005
WARM_UP_UPDATES, TIMED_UPDATES = 4, 8
STOPPED_EXIT_CODE = 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the three verbs; returns the exit code."""
    options = parse(arguments)
    try:
        return {"train": train, "fetch": fetch, "join": join}[options.verb](options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="train a slice")
    training.add_argument("source", type=Path, help="a corpus folder, or FASTA")
    training.add_argument("--valid", type=Path, help="FASTA for validation (default: half a percent held out)")
    training.add_argument("--recipe", default="nano_gpu")
    training.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    training.add_argument("--name", default="openankh-nano", help="the model's name")
    training.add_argument("--minutes", type=float, required=True, help="of the whole run")
    training.add_argument("--slice-minutes", type=float, help="of this call")
    training.add_argument("--pieces", type=Path, help="a folder with the pieces of the last slice")
    training.add_argument("--kernels", choices=("auto", "compiled", "plain"), default="auto")
    training.add_argument("--licence", default="CC-BY-4.0")
    fetching = verbs.add_parser("fetch", help="copy pieces of WORK to OUT")
    fetching.add_argument("--set", choices=("state", "model"), default="state")
    for verb in (training, fetching):
        verb.add_argument("--work", type=Path, required=True)
        verb.add_argument("--numbers", default="all", help="which pieces of the state OUT gets: all, 3, 0-3")
    joining = verbs.add_parser("join", help="put pieces together")
    joining.add_argument("pieces", type=Path, nargs="+")
    for verb in (training, fetching, joining):
        verb.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> int:
    """Train one slice, judge the best model so far, write the pieces."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = recipe_named(options.recipe, options.settings)
    options.work.mkdir(parents=True, exist_ok=True)
    corpus, run = prepared(options), options.work / "run"
    if options.pieces and not run.exists():
        restore(options.pieces, run)
    tried = choose_kernels(options.kernels, recipe, Corpus.open(corpus), device)
    resume = (run / "run.json").exists()
    summary = pretrain(
        recipe,
        RunOptions(corpus, run, resume, options.minutes, options.slice_minutes, str(device), options.licence),
        PlainProgress(),
    )
    facts = report(summary, recipe, corpus, device) | {"kernels": tried}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))
    write_pieces(options.work, options.name)
    copy_pieces(options.work, options.out, "model", "all")
    copy_pieces(options.work, options.out, "state", options.numbers)
    return 0 if summary.finished else STOPPED_EXIT_CODE


def prepared(options: argparse.Namespace) -> Path:
    """The corpus folder, made where FASTA is given and it is not there from an earlier slice."""
    if options.source.is_dir():
        return options.source
    folder = options.work / "corpus"
    if not folder.exists():
        selection = Selection() if options.valid else Selection(holdout=HOLDOUT)
        prepare([options.source], folder, PrepareOptions(selection=selection), valid=options.valid)
    return folder


def choose_kernels(wanted: str, recipe: Recipe, corpus: Corpus, device: torch.device) -> dict[str, Any]:
    """Try compiled and plain kernels on the same first updates and keep to the faster that works; what was found."""
    if device.type == "cpu":
        return {}
    names = ("compiled", "plain") if wanted == "auto" else (wanted,)
    tried = {name: try_kernels(name, recipe, corpus, device) for name in names}
    best = max(names, key=lambda name: tried[name].get("tokens_a_second", 0.0))
    losses = [found["loss"] for found in tried.values() if "loss" in found]
    if len(losses) == 2 and abs(losses[0] - losses[1]) > 0.02 * losses[1]:
        best = "plain"  # the simple ones are the measure of the others
    use(best)
    return {**tried, "used": best}


def try_kernels(name: str, recipe: Recipe, corpus: Corpus, device: torch.device) -> dict[str, Any]:
    """Speed and last loss of some updates from the recipe's beginning, or why there is none."""
    use(name)
    if name == "compiled" and not is_compiled(device):
        return {"failure": "no Triton"}
    try:
        trainer = Trainer(recipe, corpus, device)
        for _ in range(WARM_UP_UPDATES):
            trainer.update(0.01)
        begin = time.monotonic()
        updates = [trainer.update(0.01) for _ in range(TIMED_UPDATES)]
        torch.cuda.synchronize()
    except Exception as error:  # whatever a compiler can raise
        print(f"{name} kernels do not work here: {error}", file=sys.stderr)
        return {"failure": f"{type(error).__name__}: {str(error)[:500]}"}
    seconds = time.monotonic() - begin
    return {"tokens_a_second": sum(each.num_tokens_read for each in updates) / seconds, "loss": updates[-1].loss}


def use(kernels: str) -> None:
    """Have the package use compiled or plain kernels from now on."""
    os.environ["OPENANKH_COMPILE"] = "1" if kernels == "compiled" else "0"


def report(summary: Summary, recipe: Recipe, corpus: Path, device: torch.device) -> dict[str, Any]:
    """What the run has reached, and the best model's perplexity on the whole validation split."""
    recent = [line["timing"] for line in read_journal(summary.run) if line["kind"] == "train"][-200:]
    return {
        **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(summary).items()},
        "valid": judged(summary.best, recipe, corpus, device) if summary.best else None,
        "tokens_a_second": float(np.median([timing["tokens_a_second"] for timing in recent])),
        "flops_utilisation": float(np.median([timing["flops_utilisation"] for timing in recent])),
        "parameters": recipe.model.num_parameters,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def judged(best: Path, recipe: Recipe, corpus: Path, device: torch.device) -> dict[str, Any]:
    """A model on the whole validation split, by objective."""
    model, valid = load_model(best, device=device).model, Corpus.open(corpus, "valid")
    results = {
        objective.name: evaluate(
            model,
            valid,
            objective,
            DTYPES[recipe.dtype],
            device,
            recipe.packing.crop,
            batch_tokens=recipe.packing.tokens,
        )
        for objective in recipe.objectives
    }
    return {name: {**asdict(result), "perplexity": result.perplexity} for name, result in results.items()}


def write_pieces(work: Path, name: str) -> None:
    """Cut the run's state, and its best model in bf16 if it has one yet, into pieces under WORK/pieces."""
    run = work / "run"
    if (run / "best").is_dir():
        best = load_model(run / "best")
        provenance = replace(best.provenance or Provenance(), name=name)
        shutil.rmtree(work / "model", ignore_errors=True)
        save_model(best.model, best.vocab, work / "model", provenance, dtype=torch.bfloat16)
        pieces.cut("model", {"model": work / "model"}, work / "pieces")
    newest = max((run / "checkpoints").glob("step-*"))
    kept = {"run.json": run / "run.json", "journal.jsonl": run / "journal.jsonl"}
    pieces.cut("state", {**kept, f"checkpoints/{newest.name}": newest}, work / "pieces")


def restore(folder: Path, run: Path) -> None:
    """A run from the pieces of its state, and of its best model where there was one."""
    pieces.join(folder.glob("state-*.piece"), run)
    if model := list(folder.glob("model-*.piece")):
        pieces.join(model, run)
        (run / "model").rename(run / "best")


def copy_pieces(work: Path, out: Path, name: str, numbers: str) -> None:
    """Copy pieces of a set from WORK to OUT."""
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted((work / "pieces").glob(f"{name}-*.piece"))
    for path in pieces.chosen(paths, numbers):
        shutil.copy(path, out)
    print(f"{name}: pieces {numbers} of {len(paths)} in {out}", file=sys.stderr)


def fetch(options: argparse.Namespace) -> int:
    """Copy further pieces."""
    copy_pieces(options.work, options.out, options.set, options.numbers)
    return 0


def join(options: argparse.Namespace) -> int:
    """Unpack a set of pieces."""
    pieces.join(options.pieces, options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
