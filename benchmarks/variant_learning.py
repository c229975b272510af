"""What a few measured variants teach about the others of an assay: ridge regression and LoRA; tables and curves.

    python benchmarks/variant_learning.py [--assays NAME ...] [--lora NAME ...] [--seeds 5] [--plot FILE.png]
                                          [--out FOLDER]

Of each assay at most 1,000 variants (seed 0), half of them for measuring; 24, 96 and 384 of the others, drawn anew for
each seed, are learned from. Spearman's correlation on the measured half, the mean over seeds. Ways, each but LoRA a
ridge regression whose penalty five folds of the learned variants choose:

- one-hot: a column for each residue of each position that varies, so that only positions seen before tell anything;
- the same with one more column, hardly penalised: a score without labels (Hsu et al., 2022), that of masked-marginal by
  the model, of BLOSUM62, or of the site profile of homologs (`benchmarks/homologs.py`);
- embedding: the mean of the last layer over residues, by the model and by random weights of its shape;
- LoRA through `openankh.tasks`: rank 16 on q and v with a linear head on the mean, 20 epochs, the best of which a fifth
  of the learned variants choose (batches of 8); two seeds;
- shuffled labels: one-hot and masked-marginal, learned from labels dealt out at random; nothing should be left.

Halves are drawn at random, so that positions are shared between what is learned and measured: this flatters all alike.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from variant_effects import Assay, Scorers, by_sites, known_assays, wild_types

import openankh
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.files import write_file_atomically
from openankh.mutation import apply, parse_mutations
from openankh.scoring.scan import COLUMNS
from openankh.tasks.finetuning import BaseModel, HeadChoice, finetune_lora
from openankh.tasks.fitting import FitOptions
from openankh.tasks.lora import LoraConfig
from openankh.tasks.metrics import spearman
from openankh.tasks.own_data import OwnOptions, read_own_data

Places = NDArray[np.intp]
MOST, BUDGETS = 1_000, (24, 96, 384)
LORA_SEEDS, LORA_EPOCHS = 2, 20
_PENALTIES = 10.0 ** np.arange(-3, 6)
_HARDLY = 1e-3
_COLOURS = {
    "masked-marginal alone": "#999999", "one-hot": "#E69F00", "one-hot + masked-marginal": "#0072B2",
    "one-hot + site profile": "#009E73", "embedding": "#CC79A7", "LoRA": "#D55E00", "shuffled labels": "#000000",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Features:
    """Columns to learn from (N, F); the last `num_free` of them are hardly penalised."""

    x_NF: NDArray[np.float64]
    num_free: int = 0

    def learned(self, train: NDArray[np.intp], y: NDArray[np.float64], test: NDArray[np.intp]) -> NDArray[np.float64]:
        """What ridge regression learned from some says of others."""
        mean, deviation = self.x_NF[train].mean(axis=0), self.x_NF[train].std(axis=0)
        scale = np.where(deviation > 1e-9, deviation, 1) if not self._is_binary else np.ones_like(deviation)
        scale[self._free] = np.maximum(deviation[self._free], 1e-9)
        x, x_test = (self.x_NF[train] - mean) / scale, (self.x_NF[test] - mean) / scale
        penalty = min(_PENALTIES, key=lambda each: self._error(x, y, each))
        return x_test @ self._solve(x, y - y.mean(), penalty) + y.mean()

    @property
    def _free(self) -> slice:
        return slice(self.x_NF.shape[1] - self.num_free, None)

    @property
    def _is_binary(self) -> bool:
        return bool(np.isin(self.x_NF[:, : self.x_NF.shape[1] - self.num_free], (0, 1)).all())

    def _solve(self, x: NDArray[np.float64], y: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """In the space of examples, of which there are fewer than columns."""
        scaled = np.full(x.shape[1], penalty)
        scaled[self._free] = _HARDLY
        kernel = (x / scaled) @ x.T + np.eye(len(x))
        return (x / scaled).T @ np.linalg.solve(kernel, y)

    def _error(self, x: NDArray[np.float64], y: NDArray[np.float64], penalty: float) -> float:
        folds, total = np.arange(len(y)) % 5, 0.0
        for fold in range(5):
            kept, left = folds != fold, folds == fold
            mean = y[kept].mean()
            total += float(np.square(x[left] @ self._solve(x[kept], y[kept] - mean, penalty) + mean - y[left]).sum())
        return total


def one_hot(sequences: Sequence[str]) -> NDArray[np.float64]:
    """A column for each residue of each position that not all of them have; sequences of one length."""
    letters_NL = np.array([list(sequence) for sequence in sequences])
    columns_NF = (letters_NL[:, :, None] == np.array(list(COLUMNS))).reshape(len(sequences), -1)
    return columns_NF[:, columns_NF.any(axis=0) & ~columns_NF.all(axis=0)].astype(np.float64)


def sequences_of(assay: Assay) -> list[str]:
    """The whole sequence of each variant."""
    return [apply(assay.wild_type, parse_mutations(variant)) for variant in assay.variants]


def embeddings(sequences: Sequence[str], embedder: Embedder) -> NDArray[np.float64]:
    """The mean over residues of each, (N, D)."""
    records = (Record(str(number), "", sequence, number) for number, sequence in enumerate(sequences, start=1))
    return np.array([vector for _, vector in embedder.embed(records)], np.float64)


@dataclass(frozen=True)
class Measured:
    """A correlation: of which assay, by which way, learned from so many, with which seed."""

    assay: str
    way: str
    num: int
    seed: int
    rho: float


class Campaign:
    """Everything that is measured; what has been stands in a file a assay and is not measured again."""

    def __init__(self, model: str, seeds: int, out: Path) -> None:
        self.model, self.seeds, self.out = model, seeds, out
        self.scorers = Scorers(model)
        self.embedder = self.scorers.loaded.embedder(EmbedOptions(pool="mean"))
        out.mkdir(parents=True, exist_ok=True)

    def ridges(self, assay: Assay) -> list[Measured]:
        """All ways but LoRA."""
        return self._once(assay, "ridge", lambda: self._ridges(assay))

    def lora(self, assay: Assay) -> list[Measured]:
        """LoRA with the first seeds."""
        return self._once(assay, "lora", lambda: self._lora(assay))

    def _once(self, assay: Assay, kind: str, measure: Callable[[], list[Measured]]) -> list[Measured]:
        path = self.out / f"{assay.name}.{kind}.json"
        if not path.exists():
            start = time.process_time()
            found = measure()
            write_file_atomically(path, json.dumps([vars(each) for each in found]))
            print(f"{assay.name}: {kind}, {time.process_time() - start:.0f} s of CPU", file=sys.stderr, flush=True)
        return [Measured(**each) for each in json.loads(path.read_text())]

    def _ridges(self, assay: Assay) -> list[Measured]:
        ways = self._ways(assay)
        score_N = ways["one-hot + masked-marginal"].x_NF[:, -1]
        found = []
        for seed, num, train, test in self._draws(assay, range(self.seeds)):
            y, truth = assay.measured_N[train], assay.measured_N[test]
            shuffled = np.random.default_rng((seed, num)).permutation(y)
            said = {way: features.learned(train, y, test) for way, features in ways.items()}
            said["shuffled labels"] = ways["one-hot + masked-marginal"].learned(train, shuffled, test)
            said["masked-marginal alone"] = score_N[test]
            found += [Measured(assay.name, way, num, seed, spearman(each, truth)) for way, each in said.items()]
        return found

    def _ways(self, assay: Assay) -> dict[str, Features]:
        sequences = sequences_of(assay)
        residues = one_hot(sequences)
        scores = {name: self.scorers.scores(name, assay)[0] for name in ("masked-marginal", "BLOSUM62")}
        scores["site profile"] = by_sites(assay)[0]
        augmented = {
            f"one-hot + {name}": Features(np.column_stack([residues, score_N]), 1)
            for name, score_N in scores.items()
            if np.isfinite(score_N).all()
        }
        untrained = Embedder(self.scorers.untrained, self.scorers.loaded.vocab, EmbedOptions(pool="mean"))
        return {
            "one-hot": Features(residues),
            **augmented,
            "embedding": Features(embeddings(sequences, self.embedder)),
            "embedding, random weights": Features(embeddings(sequences, untrained)),
        }

    def _draws(self, assay: Assay, seeds: Sequence[int]) -> Iterator[tuple[int, int, Places, Places]]:
        """Seed, number, and the places of variants to learn from and to measure on."""
        half = np.random.default_rng(0).permutation(len(assay.variants))
        test, pool = half[: len(half) // 2], half[len(half) // 2 :]
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(pool)
            for num in BUDGETS:
                if num <= len(pool):
                    yield seed, num, order[:num], test

    def _lora(self, assay: Assay) -> list[Measured]:
        sequences, found = sequences_of(assay), []
        for seed, num, train, test in self._draws(assay, range(min(self.seeds, LORA_SEEDS))):
            path = self.out / f"{assay.name}.lora.csv"
            valid = set(train[: max(num // 5, 2)].tolist())
            lines = ["sequence,label,split"]
            for split, places in (("train", train), ("test", test)):
                for place in places.tolist():
                    name = "valid" if place in valid else split
                    lines.append(f"{sequences[place]},{float(assay.measured_N[place])!r},{name}")
            path.write_text("\n".join(lines) + "\n")
            data = read_own_data(path, OwnOptions(kind="number")).data
            options = FitOptions(epochs=LORA_EPOCHS, batch_size=8, seed=seed, patience=8)
            head, base = HeadChoice("linear", pool="mean"), BaseModel(self.model)
            tuned, _ = finetune_lora(data, head, base, LoraConfig(), options, (seed,))
            rho = float(tuned.artifact.metrics["test"]["spearman"]["value"] or 0)
            found.append(Measured(assay.name, "LoRA", num, seed, rho))
            path.unlink()
        return found


def table(found: Sequence[Measured], num: int) -> str:
    """A row an assay, a column a way: the mean over seeds, and how far the seeds' means are apart."""
    ways = list(dict.fromkeys(each.way for each in found))
    lines = [f"\n{num} labels\n", f"| assay | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    assays = list(dict.fromkeys(each.assay for each in found if each.num == num))
    means: dict[str, list[float]] = {way: [] for way in ways}
    for assay in assays:
        cells = []
        for way in ways:
            values = [each.rho for each in found if (each.assay, each.way, each.num) == (assay, way, num)]
            values = [0.0 if np.isnan(value) else value for value in values]  # the same said of all: no order
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
            if values:
                means[way].append(float(np.mean(values)))
        lines.append(f"| {assay} | {' | '.join(cells)} |")
    shown = [f"{np.mean(means[way]):.3f} ({len(means[way])})" if means[way] else "" for way in ways]
    lines.append(f"| mean (of assays) | {' | '.join(shown)} |")
    return "\n".join(lines)


def draw(found: Sequence[Measured], path: Path) -> None:
    """A curve a way, a panel an assay; a PNG."""
    from matplotlib.figure import Figure

    assays = list(dict.fromkeys(each.assay for each in found))
    rows = -(-len(assays) // 4)
    figure = Figure(figsize=(12, 0.8 + 2.5 * rows), dpi=130, layout="constrained")
    panels = figure.subplots(rows, 4, squeeze=False, sharex=True).ravel()
    ways = {way: colour for way, colour in _COLOURS.items() if any(each.way == way for each in found)}
    for axes, assay in zip(panels, assays, strict=False):
        for way, colour in ways.items():
            here = [each for each in found if (each.assay, each.way) == (assay, way)]
            nums = sorted({each.num for each in here})
            means = [np.nanmean([each.rho for each in here if each.num == num]) for num in nums]
            axes.plot(nums, means, "o-", color=colour, markersize=4, label=way)
        axes.set_title(assay, fontsize=8)
        axes.set_xscale("log")
        axes.set_xticks(BUDGETS, [str(num) for num in BUDGETS])
        axes.minorticks_off()
        axes.tick_params(labelbottom=True)
        axes.axhline(0, color="#333333", linewidth=0.6)
    for axes in panels[len(assays) :]:
        axes.set_visible(False)
    figure.supxlabel("labels learned from")
    figure.supylabel("Spearman's correlation on the others")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not measured yet, print the tables."""
    known = known_assays()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assays", nargs="*", choices=known, help="default: all")
    parser.add_argument("--lora", nargs="*", choices=known, default=[], help="also LoRA on these")
    parser.add_argument("--lora-alone", action="store_true", help="measure nothing else now")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default="openankh-nano")
    parser.add_argument("--plot", type=Path, help="a PNG of the curves")
    parser.add_argument("--out", type=Path, default=Path("runs/variant_learning"))
    chosen = parser.parse_args(arguments)
    sequences = wild_types()
    campaign, found = Campaign(chosen.model, chosen.seeds, chosen.out / Path(chosen.model).name), []
    for name in chosen.assays or known:
        assay = Assay.read(name, sequences[name], MOST)
        found += [] if chosen.lora_alone else campaign.ridges(assay)
        found += campaign.lora(assay) if name in chosen.lora else []
    print(f"`python benchmarks/variant_learning.py {' '.join(sys.argv[1:])}`\n")
    print(f"{date.today()}, model {chosen.model}, OpenAnkh {openankh.__version__}, torch {torch.__version__},")
    print(f"load {os.getloadavg()[0]:.1f}; mean over {chosen.seeds} seeds (LoRA: {LORA_SEEDS}) ± deviation.")
    for num in BUDGETS:
        print(table(found, num))
    if chosen.plot and not chosen.lora_alone:
        draw(found, chosen.plot)


if __name__ == "__main__":
    main()
