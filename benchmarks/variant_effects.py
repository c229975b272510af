"""How well scores of variants agree with measured effects, assay by assay, beside what knows less; Markdown tables.

    python benchmarks/variant_effects.py [--assays NAME ...] [--methods METHOD ...] [--model NAME] [--out FOLDER]

All assays of ../shared/data/variant_effects, unless some are named. Spearman's correlation with the measured scores,
and the area under the ROC curve for telling the fitter half (or the assay's own two classes) from the rest, each with
the 95 % interval of 1,000 resamplings of the variants. Beside the model: BLOSUM62 (the entry of old and new residue,
added up; and less the old one's own entry), how common the new residue is beside the old one in known proteins, and
masked-marginal by random weights of the model's shape (one seed, whose arbitrary liking for some residues shows).
What has been scored stands in FOLDER, one file an assay and scorer, and is not scored again: run the same command
after a stop. The sign of an assay is taken as it is.
"""

import argparse
import csv
import gzip
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from blosum62 import BLOSUM62
from measuring import SHARED
from numpy.typing import NDArray

import openankh
from openankh.decoding import for_decoding
from openankh.files import atomic_file
from openankh.generation.reader import Reader
from openankh.inference import for_inference
from openankh.model import Ankh
from openankh.mutation import Mutation, parse_mutations
from openankh.pretraining.initialisation import initialise
from openankh.scoring.background import STANDARD
from openankh.scoring.method import METHODS, ScoringOptions
from openankh.scoring.scorer import Scorer
from openankh.tasks.interval import Interval, interval_of_choices
from openankh.tasks.metrics import area_of_codes, order_codes, spearman_of_codes

FOLDER = SHARED / "data" / "variant_effects"
NO_ASSAYS = ("wild_types", "proteingym_reference")
BASELINES = ("BLOSUM62", "BLOSUM62 less own", "composition", "random weights")


@dataclass(frozen=True, eq=False)
class Assay:
    """Variants of one protein with what was measured, N of them; `is_fit_N` is the fitter class."""

    name: str
    wild_type: str
    variants: tuple[str, ...]
    measured_N: NDArray[np.float64]
    is_fit_N: NDArray[np.bool_]

    @classmethod
    def read(cls, name: str, wild_type: str) -> "Assay":
        """Read `name.csv.gz`; rows without a number are left out."""
        with gzip.open(FOLDER / f"{name}.csv.gz", "rt") as file:
            rows = [row for row in csv.DictReader(file) if math.isfinite(float(row["DMS_score"] or "nan"))]
        measured = np.array([float(row["DMS_score"]) for row in rows])
        has_classes = "DMS_score_bin" in rows[0]
        is_fit = [row["DMS_score_bin"] == "1" for row in rows] if has_classes else measured > np.median(measured)
        return cls(name, wild_type, tuple(row["mutant"] for row in rows), measured, np.array(is_fit))


def by_mutations(assay: Assay, gain: Callable[[Mutation], float]) -> NDArray[np.float64]:
    """A sum over each variant's substitutions, (1, N)."""
    return np.array([[sum(map(gain, parse_mutations(variant))) for variant in assay.variants]], np.float64)


def by_model(assay: Assay, scorer: Scorer) -> NDArray[np.float64]:
    """Raw and calibrated scores, (2, N)."""
    scores = list(scorer.score(assay.wild_type, assay.variants))
    return np.array([[score.raw for score in scores], [score.calibrated for score in scores]])


class Scorers:
    """All ways to score, by name; models are made when they are first asked for."""

    def __init__(self, model: str) -> None:
        self._loaded = openankh.load(model)
        self._random: Reader | None = None

    def scores(self, name: str, assay: Assay) -> NDArray[np.float64]:
        """Raw scores, and calibrated ones where there are such, (1 or 2, N)."""
        if name == "BLOSUM62":
            return by_mutations(assay, lambda each: BLOSUM62[each.wild_type, each.mutant])
        if name == "BLOSUM62 less own":
            return by_mutations(
                assay, lambda each: BLOSUM62[each.wild_type, each.mutant] - BLOSUM62[each.wild_type, each.wild_type]
            )
        if name == "composition":
            return by_mutations(assay, lambda each: math.log(STANDARD[each.mutant] / STANDARD[each.wild_type]))
        if name == "random weights":
            return by_model(assay, Scorer(self._untrained(), self._loaded.vocab, ScoringOptions()))[:1]
        return by_model(assay, self._loaded.scorer(ScoringOptions(name)))  # type: ignore[arg-type]  # pyright: ignore

    def _untrained(self) -> Reader:
        if self._random is None:
            model = Ankh(self._loaded.model.config).eval()
            initialise(model, self._loaded.vocab, "published", seed=0)
            model = model.to(self._loaded.device)
            self._random = Reader(for_inference(model), for_decoding(model), self._loaded.device)
        return self._random


def scored_once(out: Path, assay: Assay, name: str, scorers: Scorers) -> NDArray[np.float64]:
    """The scores, from the file where they stand already."""
    path = out / f"{assay.name}.{name.replace(' ', '-')}.npy"
    if path.exists():
        return np.load(path)
    start = time.perf_counter()
    scores = scorers.scores(name, assay)
    with atomic_file(path) as file:
        np.save(file, scores)
    print(f"{assay.name}: {name}, {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return scores


def agreement(scores_N: NDArray[np.float64], assay: Assay) -> tuple[Interval, Interval]:
    """Spearman's correlation and the area under the curve."""
    scores, measured = order_codes(scores_N), order_codes(assay.measured_N)
    num = len(scores)
    rho = interval_of_choices(num, lambda chosen: spearman_of_codes(scores[chosen], measured[chosen]))
    area = interval_of_choices(num, lambda chosen: area_of_codes(scores[chosen], assay.is_fit_N[chosen]))
    return rho, area


def columns_of(names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Heading, scorer and row of its scores, for each column of a table."""
    columns = []
    for name in names:
        columns.append((name, name, 0))
        if name in METHODS:
            columns.append((f"{name}, calibrated", name, 1))
    return columns


def tables(found: dict[str, dict[str, tuple[Interval, Interval]]], assays: Sequence[Assay]) -> str:
    """A table of each measure: a row an assay, the mean last."""
    parts = []
    headings = list(next(iter(found.values())))
    for number, title in enumerate(("Spearman's correlation", "Area under the ROC curve")):
        lines = [f"\n{title}\n", f"| assay | length | variants | {' | '.join(headings)} |"]
        lines.append("|---" * (3 + len(headings)) + "|")
        for assay in assays:
            cells = [_shown(found[assay.name][heading][number]) for heading in headings]
            lines.append(f"| {assay.name} | {len(assay.wild_type)} | {len(assay.variants):,} | {' | '.join(cells)} |")
        means = [np.mean([found[assay.name][heading][number].value for assay in assays]) for heading in headings]
        lines.append(f"| mean of {len(assays)} | | | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _shown(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Score what is not scored yet, print the tables."""
    known = sorted(path.name.removesuffix(".csv.gz") for path in FOLDER.glob("*.csv.gz"))
    known = [name for name in known if name not in NO_ASSAYS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assays", nargs="*", choices=known, help="default: all")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=["masked-marginal", "wild-type-marginal"])
    parser.add_argument("--model", default="openankh-nano")
    parser.add_argument("--out", type=Path, default=Path("runs/variant_effects"), help="folder of scores")
    chosen = parser.parse_args(arguments)
    out = chosen.out / Path(chosen.model).name
    out.mkdir(parents=True, exist_ok=True)
    with gzip.open(FOLDER / "wild_types.csv.gz", "rt") as file:
        wild_types = {row["assay"]: row["sequence"] for row in csv.DictReader(file)}
    assays = [Assay.read(name, wild_types[name]) for name in chosen.assays or known]
    scorers, names = Scorers(chosen.model), [*BASELINES, *chosen.methods]
    found: dict[str, dict[str, tuple[Interval, Interval]]] = {}
    for assay in assays:
        scores = {name: scored_once(out, assay, name, scorers) for name in names}
        found[assay.name] = {heading: agreement(scores[name][row], assay) for heading, name, row in columns_of(names)}
    print(f"`python benchmarks/variant_effects.py {' '.join(sys.argv[1:])}`\n")
    print(f"{date.today()}, model {chosen.model}, OpenAnkh {openankh.__version__}, torch {torch.__version__},")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.")
    print(tables(found, assays))


if __name__ == "__main__":
    main()
