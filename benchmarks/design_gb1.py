"""Directed design held against measurements: four sites of GB1, a predictor learned from single and double mutants.

Imported by `benchmarks/design.py`. FLIP's split two-vs-rest: the predictor sees mutants of one and two changes alone;
what is proposed, of up to four, is looked up among those that were measured (Wu 2016, CC BY 4.0) and never seen.
"""

import csv
import gzip
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from measuring import SHARED

GB1 = SHARED / "data" / "gb1" / "two_vs_rest.csv.gz"
SITES = "39-41,54"
_COMMON = ("--region", SITES, "--beams", "20", "--budget", "4", "-n", "200")
Run = Callable[[list[str]], None]


def write_mutants(work: Path, model: str, run: Run) -> None:
    """Learn the predictor and search; what is there already is kept."""
    work.mkdir(parents=True, exist_ok=True)
    rows, predictor = read_rows(), work / "predictor"
    if not predictor.is_dir():
        lines = [f"{row['sequence']},{row['target']},{row['split']}\n" for row in rows if row["split"] != "test"]
        (work / "two.csv").write_text("".join(["sequence,target,split\n", *lines]))
        table = str(work / "two.csv")
        named = ["--label", "target", "--split", "split", "--head", "linear", "-m", model]
        run(["finetune", table, *named, "-o", str(predictor)])
    wild_type = next(row["sequence"] for row in rows if float(row["target"]) == 1)
    goals = {
        "beam": ["--predictor", str(predictor), "--search", "beam"],
        "metropolis": ["--predictor", str(predictor), "--search", "metropolis", "--steps", "150", "-t", "0.2"],
        "score": ["-m", model, "--search", "beam"],
    }
    for name, goal in goals.items():
        out = work / f"{name}.fasta"
        if not out.is_file():
            run(["design", "directed", wild_type, *goal, *_COMMON, "-o", str(out)])


def told(work: Path) -> list[str]:
    """The table, as lines of Markdown."""
    rows = read_rows()
    measured = {row["sequence"]: float(row["target"]) for row in rows}
    unseen = {row["sequence"] for row in rows if row["split"] == "test"}
    sets = {
        "predictor, beam": work / "beam.csv",
        "predictor, Metropolis": work / "metropolis.csv",
        "masked-marginal, beam": work / "score.csv",
    }
    lines = [
        "| mutants | proposed | measured and not learned from | mean fitness | share above the wild type (1) | best |",
        "|---|---|---|---|---|---|",
        *(row_of(name, read_mutants(path), measured, unseen) for name, path in sets.items()),
        row_of("all that were measured and not learned from", list(unseen), measured, unseen),
    ]
    learned = max(value for sequence, value in measured.items() if sequence not in unseen)
    return [*lines, "", f"The best mutant that was learned from has {learned:.2f}."]


def row_of(name: str, mutants: list[str], measured: Mapping[str, float], unseen: set[str]) -> str:
    """One set of mutants."""
    values = [measured[mutant] for mutant in mutants if mutant in unseen]
    if not values:
        return f"| {name} | {len(mutants):,} | 0 | - | - | - |"
    better = statistics.mean(value > 1 for value in values)
    cells = [
        f"{len(mutants):,}",
        f"{len(values):,}",
        f"{statistics.mean(values):.2f}",
        f"{better:.0%}",
        f"{max(values):.2f}",
    ]
    return f"| {' | '.join([name, *cells])} |"


def read_mutants(table: Path) -> list[str]:
    """The sequences of a table that `design directed` wrote."""
    with table.open(newline="") as file:
        return [row["sequence"] for row in csv.DictReader(file)]


def read_rows() -> list[dict[str, str]]:
    """All mutants that were measured, with their split."""
    with gzip.open(GB1, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
