"""How well scores of variants agree with measured effects, assay by assay, beside what knows less; Markdown tables.

    python benchmarks/variant_effects.py [--assays NAME ...] [--methods METHOD ...] [--most 5000] [--model NAME]
                                         [--plot FILE.png] [--out FOLDER]

All assays of ../shared/data/variant_effects, unless some are named; of those with more than `--most` variants so many,
drawn with seed 0. Spearman's correlation with the measured scores,
and the area under the ROC curve for telling the fitter half (or the assay's own two classes) from the rest, each with
the 95 % interval of 1,000 resamplings of the variants. Beside the model: BLOSUM62 (the entry of old and new residue,
added up; and less the old one's own entry), how common the new residue is beside the old one in known proteins, how
common both are at that position among homologs (`benchmarks/homologs.py`, run first; none where the effective number
of homologs is under 20), and masked-marginal by random weights of the model's shape (one seed, whose arbitrary liking
for some residues shows). What has been scored stands in FOLDER, one file an assay and scorer, and is not scored again:
run the same command after a stop. The sign of an assay is taken as it is.
"""

import argparse
import csv
import gzip
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from blosum62 import BLOSUM62
from homologs import OUT as HOMOLOGS
from homologs import SiteProfile
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
from openankh.scoring.scan import COLUMNS
from openankh.scoring.scorer import Scorer
from openankh.tasks.effect_agreement import effect_agreement
from openankh.tasks.interval import Interval

FOLDER = SHARED / "data" / "variant_effects"
ENOUGH = 20
"""Homologs, by their effective number, without which there is no site profile."""

NO_ASSAYS = ("wild_types", "proteingym_reference")
BASELINES = ("site profile", "BLOSUM62", "BLOSUM62 less own", "composition", "random weights")
_COLOURS = {"site profile": "#009E73", "BLOSUM62": "#E69F00", "random weights": "#999999", "masked-marginal": "#0072B2"}


@dataclass(frozen=True, eq=False)
class Assay:
    """Variants of one protein with what was measured, N of them; `is_fit_N` is the fitter class."""

    name: str
    wild_type: str
    variants: tuple[str, ...]
    measured_N: NDArray[np.float64]
    is_fit_N: NDArray[np.bool_]

    @classmethod
    def read(cls, name: str, wild_type: str, most: int = sys.maxsize) -> "Assay":
        """Read `name.csv.gz`, `most` variants drawn with seed 0; rows without a number are left out."""
        with gzip.open(FOLDER / f"{name}.csv.gz", "rt") as file:
            rows = [row for row in csv.DictReader(file) if math.isfinite(float(row["DMS_score"] or "nan"))]
        if len(rows) > most:
            rows = [rows[place] for place in sorted(random.Random(0).sample(range(len(rows)), most))]
        measured = np.array([float(row["DMS_score"]) for row in rows])
        has_classes = "DMS_score_bin" in rows[0]
        is_fit = [row["DMS_score_bin"] == "1" for row in rows] if has_classes else measured > np.median(measured)
        return cls(name, wild_type, tuple(row["mutant"] for row in rows), measured, np.array(is_fit))


def known_assays() -> list[str]:
    """Names of all assays there are."""
    names = sorted(path.name.removesuffix(".csv.gz") for path in FOLDER.glob("*.csv.gz"))
    return [name for name in names if name not in NO_ASSAYS]


def wild_types() -> dict[str, str]:
    """The sequence of each assay's protein."""
    with gzip.open(FOLDER / "wild_types.csv.gz", "rt") as file:
        return {row["assay"]: row["sequence"] for row in csv.DictReader(file)}


def by_mutations(assay: Assay, gain: Callable[[Mutation], float]) -> NDArray[np.float64]:
    """A sum over each variant's substitutions, (1, N)."""
    return np.array([[sum(map(gain, parse_mutations(variant))) for variant in assay.variants]], np.float64)


def by_model(assay: Assay, scorer: Scorer) -> NDArray[np.float64]:
    """Raw and calibrated scores, (2, N)."""
    scores = list(scorer.score(assay.wild_type, assay.variants))
    return np.array([[score.raw for score in scores], [score.calibrated for score in scores]])


def by_sites(assay: Assay) -> NDArray[np.float64]:
    """How common both residues are at their position among homologs, (1, N); not a number without enough of them."""
    path = HOMOLOGS / f"{assay.name}.npz"
    profile = SiteProfile.read(path) if path.exists() else None
    if profile is None or profile.effective < ENOUGH:
        return np.full((1, len(assay.variants)), np.nan)
    log_shares_L20 = profile.log_shares_L20

    def gain(each: Mutation) -> float:
        row_20 = log_shares_L20[each.position - 1]
        return row_20[COLUMNS.index(each.mutant)] - row_20[COLUMNS.index(each.wild_type)]

    return by_mutations(assay, gain)


class Scorers:
    """All ways to score, by name; models are made when they are first asked for."""

    def __init__(self, model: str) -> None:
        self.loaded = openankh.load(model)

    def scores(self, name: str, assay: Assay) -> NDArray[np.float64]:
        """Raw scores, and calibrated ones where there are such, (1 or 2, N)."""
        if name == "BLOSUM62":
            return by_mutations(assay, lambda each: BLOSUM62[each.wild_type, each.mutant])
        if name == "BLOSUM62 less own":
            return by_mutations(
                assay, lambda each: BLOSUM62[each.wild_type, each.mutant] - BLOSUM62[each.wild_type, each.wild_type]
            )
        if name == "site profile":
            return by_sites(assay)
        if name == "composition":
            return by_mutations(assay, lambda each: math.log(STANDARD[each.mutant] / STANDARD[each.wild_type]))
        if name == "random weights":
            return by_model(assay, Scorer(self._untrained_reader, self.loaded.vocab, ScoringOptions()))[:1]
        return by_model(assay, self.loaded.scorer(ScoringOptions(name)))  # type: ignore[arg-type]  # pyright: ignore

    @cached_property
    def untrained(self) -> Ankh:
        """A network of the model's shape that has learned nothing."""
        model = Ankh(self.loaded.model.config).eval()
        initialise(model, self.loaded.vocab, "published", seed=0)
        return model.to(self.loaded.device)

    @cached_property
    def _untrained_reader(self) -> Reader:
        return Reader(for_inference(self.untrained), for_decoding(self.untrained), self.loaded.device)


def scored_once(out: Path, assay: Assay, name: str, scorers: Scorers) -> NDArray[np.float64]:
    """The scores, from the file where they stand already."""
    path = out / f"{assay.name}.{len(assay.variants)}.{name.replace(' ', '-')}.npy"
    if path.exists() and name != "site profile":  # homologs may have come since
        return np.load(path)
    start = time.perf_counter()
    scores = scorers.scores(name, assay)
    with atomic_file(path) as file:
        np.save(file, scores)
    print(f"{assay.name}: {name}, {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return scores


def agreement(scores_N: NDArray[np.float64], assay: Assay) -> tuple[Interval, Interval]:
    """Spearman's correlation and the area under the curve."""
    if np.isnan(scores_N).any():
        nothing = Interval(math.nan, math.nan, math.nan, 0)
        return nothing, nothing
    found = effect_agreement(scores_N, assay.measured_N, assay.is_fit_N)
    return found.spearman, found.area


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
        means = [np.nanmean([found[assay.name][heading][number].value for assay in assays]) for heading in headings]
        lines.append(f"| mean of {len(assays)} | | | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def draw(found: dict[str, dict[str, tuple[Interval, Interval]]], path: Path) -> None:
    """Spearman's correlation of some scorers, assay by assay, with its interval; a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.42 * len(found)), dpi=130, layout="constrained")
    axes = figure.subplots()
    shown = [name for name in _COLOURS if name in next(iter(found.values()))]
    for number, name in enumerate(shown):
        values = [found[assay][name][0] for assay in found]
        places = np.arange(len(found)) + 0.6 * ((number + 0.5) / len(shown) - 0.5)
        centres = np.array([each.value for each in values])
        reach = np.abs(np.array([[each.low, each.high] for each in values]).T - centres)
        axes.errorbar(centres, places, xerr=reach, fmt="o", markersize=4, color=_COLOURS[name], label=name)
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("Spearman's correlation with what was measured, 95 % interval")
    figure.legend(loc="outside upper center", ncols=len(shown), frameon=False)
    figure.savefig(path)


def _shown(interval: Interval) -> str:
    if not interval.num:
        return "none"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Score what is not scored yet, print the tables."""
    known = known_assays()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assays", nargs="*", choices=known, help="default: all")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=["masked-marginal", "wild-type-marginal"])
    parser.add_argument("--most", type=int, default=5_000, help="variants of an assay")
    parser.add_argument("--plot", type=Path, help="a PNG of the correlations")
    parser.add_argument("--model", default="openankh-nano")
    parser.add_argument("--out", type=Path, default=Path("runs/variant_effects"), help="folder of scores")
    chosen = parser.parse_args(arguments)
    out = chosen.out / Path(chosen.model).name
    out.mkdir(parents=True, exist_ok=True)
    sequences = wild_types()
    assays = [Assay.read(name, sequences[name], chosen.most) for name in chosen.assays or known]
    scorers, names = Scorers(chosen.model), [*BASELINES, *chosen.methods]
    found: dict[str, dict[str, tuple[Interval, Interval]]] = {}
    for assay in assays:
        scores = {name: scored_once(out, assay, name, scorers) for name in names}
        found[assay.name] = {heading: agreement(scores[name][row], assay) for heading, name, row in columns_of(names)}
    print(f"`python benchmarks/variant_effects.py {' '.join(sys.argv[1:])}`\n")
    print(f"{date.today()}, model {chosen.model}, OpenAnkh {openankh.__version__}, torch {torch.__version__},")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.")
    print(tables(found, assays))
    if chosen.plot:
        draw(found, chosen.plot)


if __name__ == "__main__":
    main()
