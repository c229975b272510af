"""Train the predictors that come with the package on the bundled model: the head chosen by validation, tests read once.

    make predictors DATA=../shared/data

One thread, seeded: the same machine gives the same bits. `docs/data.md` tells how the folder of data is laid out.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.benchmarking.baseline_rows import baselines_of
from openankh.embedding.options import EmbedOptions
from openankh.loaded import load
from openankh.published import BUNDLED
from openankh.tasks.attention_learning import attention_rows, finetune_attention
from openankh.tasks.cached_states import RowSource
from openankh.tasks.data_folder import DataFolder
from openankh.tasks.evaluation import evaluate
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.finetuning import (
    BaseModel,
    Finetuned,
    HeadChoice,
    OnEpoch,
    finetune,
    intervals_by_name,
    metrics_of,
    save_finetuned,
    states_of,
)
from openankh.tasks.fitting import Epoch, FitOptions
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import find_task
from openankh.tasks.shipped import FOLDER
from openankh.tasks.target_space import IGNORED, Classes

MOST_BYTES = 3 << 20
"""What all of them may take in the package."""

ATTENTION_CHAINS = 60
OF_RESIDUES = (HeadChoice("linear"), HeadChoice("mlp"), HeadChoice("convbert"))
OF_PAIRS = (HeadChoice("linear"), HeadChoice("convbert"), HeadChoice("attention"))
OF_PROTEINS = (HeadChoice("linear"), HeadChoice("mlp"), HeadChoice("convbert"), HeadChoice("light-attention"))


@dataclass(frozen=True)
class Recipe:
    """A predictor: its task, the heads that are tried, and how they are trained.

    `most` training and `most_valid` validation proteins are drawn, of at most `longest` residues; `most_test` of a test
    set, of any length. `names` are clearer ones for the task's classes, in their order.
    """

    task: str
    heads: tuple[HeadChoice, ...]
    options: FitOptions
    most: int | None = None
    most_valid: int | None = None
    longest: int | None = None
    most_test: int | None = None
    names: tuple[str, ...] = ()

    def only(self, heads: tuple[str, ...]) -> "Recipe":
        """The same with these heads, of all of them where none is named."""
        return replace(self, heads=tuple(choice for choice in self.heads if choice.name in heads)) if heads else self


RECIPES: Mapping[str, Recipe] = {
    "secondary-structure": Recipe(
        "secondary-structure-q3", OF_RESIDUES, FitOptions(epochs=5, longest=512), most=3000, most_valid=300
    ),
    "secondary-structure-q8": Recipe(
        "secondary-structure-q8", OF_RESIDUES, FitOptions(epochs=5, longest=512), most=3000, most_valid=300
    ),
    "localisation": Recipe(
        "localisation",
        OF_PROTEINS,
        FitOptions(epochs=12, longest=256),
        most=1500,
        most_valid=300,
        longest=500,
        most_test=700,
    ),
    "solubility": Recipe(
        "solubility",
        OF_PROTEINS,
        FitOptions(epochs=8, longest=256),
        most_valid=600,
        longest=1000,
        names=("insoluble", "soluble"),
    ),
    "contact": Recipe(
        "contact-ca",
        OF_PAIRS,
        FitOptions(epochs=10, longest=200, learning_rate=5e-3),
        most=1000,
        most_valid=150,
        longest=200,
        most_test=600,
    ),
    "paratope": Recipe("paratope", OF_RESIDUES, FitOptions(epochs=20)),
}


def main() -> None:
    """Train the named ones, or all; tell what each came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *RECIPES], help="which; all if none is named")
    parser.add_argument("--data", type=Path, required=True, help="a folder laid out as docs/data.md says")
    parser.add_argument("--cache", type=Path, help="where rows are kept")
    parser.add_argument("--heads", default="", help="try these alone, as linear,mlp; all of the recipe if not given")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the predictors go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base_sha256 = load(BUNDLED, "cpu", part="encoder").sha256
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or RECIPES:
        recipe = RECIPES[name].only(tuple(filter(None, arguments.heads.split(","))))
        made = train(name, recipe, arguments.data, arguments.cache, arguments.out / name)
        found = made.artifact.preprocessing.model_sha256
        assert found == base_sha256, f"{name} was trained on {found[:12]}…, the bundled model is {base_sha256[:12]}…"
    num_bytes = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{num_bytes:,} bytes in {arguments.out}", flush=True)
    assert num_bytes <= MOST_BYTES, f"{num_bytes:,} bytes, of which the package has room for {MOST_BYTES:,}"


def train(name: str, recipe: Recipe, folder: Path, cache: Path | None, out: Path) -> Finetuned:
    """Train every head, keep the one that validation finds best, measure it and what knows less, write it."""
    began = time.process_time()
    data = drawn(load_task(find_task(recipe.task), DataFolder(folder)), recipe)
    base = BaseModel(BUNDLED, options=EmbedOptions(precision="fp32"), cache=cache)
    scores: dict[str, float] = {}
    best: tuple[float, HeadChoice] | None = None
    for choice in recipe.heads:
        states, found = fitted(data, choice, base, recipe, told(f"{name} {choice.name}"))
        scores[choice.name] = found.fitted.valid_score
        if best is None or scores[choice.name] > best[0]:
            best, made, rows = (scores[choice.name], choice), found, states
    predictor = made.artifact.predictor
    predictor.round_to_half()
    tried = ", ".join(f"{head} {score:.4f}" for head, score in scores.items())
    origin = made.artifact.origin
    origin = replace(
        origin,
        splits={split: len(part) for split, part in data.splits.items()},
        notes=(*data.notes, f"heads tried, by {data.task.metric} on valid: {tried}; weights rounded to fp16"),
        baselines=baselines(data, recipe.options),
    )
    artifact = replace(made.artifact, metrics=metrics_of(predictor, data, rows), origin=origin)
    predictor.space = Classes(recipe.names) if recipe.names else predictor.space
    made = replace(made, artifact=artifact)
    save_finetuned(made, out, data, rows)
    print(f"{name}: {tried}; {artifact.metrics}; {time.process_time() - began:.0f} s of one core", flush=True)
    return made


def fitted(
    data: TaskData, choice: HeadChoice, base: BaseModel, recipe: Recipe, on_epoch: OnEpoch
) -> tuple[RowSource, Finetuned]:
    """One head, which has not seen the tests, and the rows that it reads."""
    if choice.name == "attention":
        maps = attention_rows(base)
        return maps, finetune_attention(without_tests(data), maps, on_epoch=on_epoch, num_chains=ATTENTION_CHAINS)
    states = states_of(data, choice, base)
    return states, finetune(without_tests(data), choice, states, recipe.options, on_epoch=on_epoch)


def drawn(data: TaskData, recipe: Recipe) -> TaskData:
    """The task with no more proteins to learn from than the recipe takes, told in its notes; tests stay whole."""
    notes, splits = list(data.notes), dict(data.splits)
    for split, most in (("train", recipe.most), ("valid", recipe.most_valid)):
        part = data.splits[split]
        longest = recipe.longest or max(map(len, part.sequences))
        short = [place for place, sequence in enumerate(part.sequences) if len(sequence) <= longest]
        chosen = sorted(np.random.default_rng(0).permutation(short)[:most].tolist())
        if len(chosen) < len(part):
            splits[split] = part.at(chosen)
            of_length = f", of at most {longest:,} residues" if recipe.longest else ", drawn"
            notes.append(f"{split}: {len(chosen):,} of {len(part):,} proteins{of_length}")
    for split, part in data.tests.items():
        if recipe.most_test is not None and recipe.most_test < len(part):
            splits[split] = part.at(
                sorted(np.random.default_rng(0).permutation(len(part))[: recipe.most_test].tolist())
            )
            notes.append(f"{split}: {recipe.most_test:,} of {len(part):,} proteins, drawn")
    return replace(data, splits=splits, notes=tuple(notes))


def without_tests(data: TaskData) -> TaskData:
    """What choosing may see."""
    return replace(data, splits={split: data.splits[split] for split in ("train", "valid")})


def told(what: str) -> OnEpoch:
    """Prints what each epoch came to."""

    def on_epoch(seed: int, epoch: Epoch, num_epochs: int) -> None:
        figures = f"loss {epoch.train_loss:.4f} valid {epoch.valid_score:.4f}"
        print(f"{what} {epoch.number}/{num_epochs}: {figures}, {time.process_time():.0f} s", flush=True)

    return on_epoch


def baselines(data: TaskData, options: FitOptions) -> dict[str, Any]:
    """What knows no more than the labels' frequencies or the letters came to on the tests."""
    name, guess = (
        ("majority class", most_frequent(data)) if isinstance(data.space, Classes) else ("nearest pairs", None)
    )
    found = {name: {split: measured(data, part, guess) for split, part in data.tests.items()}}
    for rows in () if data.task.unit == "pair" else baselines_of(data, "linear"):
        made = finetune(data, HeadChoice("linear"), rows, replace(options, epochs=min(options.epochs or 5, 4)))
        found[f"{rows.name}, linear"] = {
            split: figures for split, figures in made.artifact.metrics.items() if split.startswith("test")
        }
    return found


def most_frequent(data: TaskData) -> int:
    """The class that most training targets have."""
    targets = np.concatenate([np.atleast_1d(target) for target in data.train.targets])
    return int(np.bincount(targets[targets != IGNORED]).argmax())


def measured(data: TaskData, examples: Examples, guess: int | None) -> dict[str, Any]:
    """The metrics of saying always the same class, or of ranking pairs by how near they are along the chain."""
    outputs = [constant(data, target, guess) for target in examples.targets]
    return intervals_by_name(evaluate(data.task, data.space, outputs, examples))


def constant(data: TaskData, target: NDArray, guess: int | None) -> NDArray[np.float32]:
    """What is said of one protein."""
    if guess is None:
        at = np.arange(len(target), dtype=np.float32)
        return -np.abs(at[:, None] - at)
    shape: Sequence[int] = target.shape
    return np.broadcast_to(np.eye(data.space.num_outputs, dtype=np.float32)[guess], (*shape, data.space.num_outputs))


if __name__ == "__main__":
    main()
