"""Design on real proteins: the Ankh paper's malate dehydrogenases and nanobody, and mutants of GB1 by a predictor.

    python benchmarks/design.py --work runs/design

A model is adapted to the malate dehydrogenase family (its encoder frozen) and writes behind beginnings of members held
out, beside the same model unadapted; a nanobody is written anew, half of it hidden. Every command is printed; what is
there already is kept, so that a stopped run goes on. Then `benchmarks/design_reports.py` judges both, and
benchmarks/DESIGNING.md tells what came of it.
"""

import argparse
import csv
import gzip
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import design_gb1
from measuring import REPOSITORY, SHARED

from openankh.fasta import FastaReader

MDH = SHARED / "data" / "mdh" / "train.csv.gz"
NANOBODIES = SHARED / "data" / "nanobody" / "nanobodies.fasta.gz"
NANOBODY = "nb1425"
OTHER_SETS = {"sampled": "mdh_sampled", "unadapted": "control"}
OTHER_WAYS = ("lora", "full")
RECIPES = ("nanobody", "nanobody-warm")


@dataclass(frozen=True)
class Plan:
    """Where it happens, and what is changed of the paper's settings."""

    work: Path
    epochs: int
    learning_rate: float
    num: int
    every: int
    model: str

    @property
    def members(self) -> Path:
        """The family, or part of it."""
        return MDH if self.every == 1 else self.work / f"mdh_every_{self.every}.csv"

    def family(self, epochs: int, out: Path, model: str | Path | None = None) -> list[str]:
        """The command that all models are run by, this one unless told."""
        words = ["design", "family", str(self.members), "--recipe", "mdh", "--groups", "cluster", "-o", str(out)]
        return [
            *words,
            "--epochs",
            str(epochs),
            "--learning-rate",
            str(self.learning_rate),
            "-m",
            str(model or self.model),
        ]


def main() -> None:
    """Run what is missing, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "design")
    parser.add_argument("--epochs", type=int, default=1, help="the paper: 2")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="the paper: 3e-4")
    parser.add_argument("--num", type=int, default=150, help="designs at each temperature; the paper: 500")
    parser.add_argument("--every", type=int, default=3, help="3: every third member alone; 1: all")
    parser.add_argument("--model", default="openankh-nano")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "DESIGNING.md")
    parser.add_argument("--page", action="store_true", help="run nothing: tell of what is there")
    found = parser.parse_args()
    if not MDH.is_file():
        sys.exit(f"the real data is not at {MDH} (set OPENANKH_SHARED to the folder that holds data/)")
    plan = Plan(found.work, found.epochs, found.learning_rate, found.num, found.every, found.model)
    plan.work.mkdir(parents=True, exist_ok=True)
    if not found.page:
        write_designs(plan)
        design_gb1.write_mutants(plan.work / "gb1", plan.model, run)
        judge(plan)
    found.out.write_text(told(plan), encoding="utf-8")
    print(f"wrote {found.out}")


def write_designs(plan: Plan) -> None:
    """The designs that are not there yet."""
    work = plan.work
    if not plan.members.is_file():
        with gzip.open(MDH, "rt", encoding="utf-8") as file:
            header, *rows = file
        plan.members.write_text("".join([header, *rows[plan.every - 1 :: plan.every]]), encoding="utf-8")
    adapted, control = work / "mdh", work / "control"
    num = ["-n", str(plan.num)]
    resumed = ["--resume"] if (adapted / "adaptation.json").is_file() else []
    run([*plan.family(plan.epochs, adapted), *num, *resumed])
    for tune in OTHER_WAYS:
        out = work / f"mdh_{tune}"
        if not (out / "adaptation.json").is_file():
            run([*plan.family(plan.epochs, out), "--tune", tune, "-n", "1", "-t", "1"])
    if not (control / "designs_t1.fasta").is_file():
        run([*plan.family(0, control), *num, "-t", "1"])
    sampled = work / "mdh_sampled"
    if not (sampled / "designs_t1.fasta").is_file():
        run([*plan.family(0, sampled, adapted / "model"), *num, "-t", "1", "--method", "sample"])
    parent = work / f"{NANOBODY}.fasta"
    if not parent.is_file():
        sequence = next(record.sequence for record in FastaReader(NANOBODIES) if record.id == NANOBODY)
        parent.write_text(f">{NANOBODY}\n{sequence}\n")
    for recipe in RECIPES:
        for name, more in ((recipe, []), (f"{recipe}_sampled", ["--method", "sample"])):
            out = work / f"{name}.fasta"
            if not out.is_file():
                words = ["design", "one", str(parent), "--recipe", recipe, *more, "-n", "100"]
                run([*words, "-m", plan.model, "-o", str(out)])


def judge(plan: Plan) -> None:
    """Both pages, by `benchmarks/design_reports.py`."""
    work = plan.work
    *asked, control = [f"{name}={path}" for name, path in family_sets(work)]  # the unadapted model's are the last
    mdh = ["mdh", "--designs", *asked, "--control", control, "--cut", "256", "--out", str(work / "mdh.html")]
    asked = [f"{path.stem}={path}" for path in nanobody_sets(work)]
    parent = str(work / f"{NANOBODY}.fasta")
    nanobody = ["nanobody", "--designs", *asked, "--parent", parent, "--out", str(work / "nanobody.html")]
    if not (work / "sampled_report").is_dir():
        words = ["design", "report", f"sampled_t1={work / 'mdh_sampled' / 'designs_t1.fasta'}", "--family", str(MDH)]
        run([*words, "--num-controls", "60", "-o", str(work / "sampled_report")])
    for words in (mdh, nanobody):
        print("python benchmarks/design_reports.py", shlex.join(words), flush=True)
        subprocess.run([sys.executable, str(REPOSITORY / "benchmarks" / "design_reports.py"), *words], check=True)


def judged_without_beams(work: Path) -> str:
    """What the family's profile says of designs that were drawn without beams, by `openankh design report`."""
    path = work / "sampled_report" / "report.json"
    if not path.is_file():
        return ""
    found = json.loads(path.read_text())["sets"][0]
    share, nearest = found["accepted"], found["nearest_identity"]["median"]
    return (
        f"Of the designs drawn without beams the family's profile accepts {share['value']:.1%} ({share['low']:.1%} to "
        f"{share['high']:.1%}) at E <= 1e-10; their nearest natural protein is identical in {nearest:.0%} (median)."
    )


def family_sets(work: Path) -> list[tuple[str, Path]]:
    """Designs behind prompts of malate dehydrogenases by their names, the unadapted model's last."""
    adapted = sorted((work / "mdh").glob("designs_t*.fasta"), key=lambda path: float(path.stem.partition("_t")[2]))
    others = {f"{name}_t1": work / folder / "designs_t1.fasta" for name, folder in OTHER_SETS.items()}
    return [*((path.stem.removeprefix("designs_"), path) for path in adapted), *others.items()]


def nanobody_sets(work: Path) -> list[Path]:
    """Nanobodies written anew."""
    return sorted(work.glob("nanobody*.fasta"))


def run(words: list[str]) -> None:
    """An `openankh` command, printed; what it says goes where ours does."""
    print("openankh", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "openankh", *words], check=True)


def told(plan: Plan) -> str:
    """The page."""
    work = plan.work
    facts = json.loads((work / "mdh" / "adaptation.json").read_text())
    settings = facts["settings"]
    ways = {"the decoder, as the paper has it": "mdh", "LoRA on encoder and decoder": "mdh_lora", "all": "mdh_full"}
    versions = ", ".join(f"{name} {version(name)}" for name in ("openankh", "torch", "numpy"))
    lines = [
        "# Designing malate dehydrogenases, a nanobody and mutants of GB1",
        "",
        "How they were made; `benchmarks/DESIGNS.md` judges them by a profile of their family.",
        "",
        f"`python benchmarks/design.py --epochs {plan.epochs} --learning-rate {plan.learning_rate:g} "
        f"--num {plan.num} --every {plan.every}`; {versions};"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f} when this page was written.",
        "",
        "## Like malate dehydrogenases",
        "",
        f"`{plan.model}` adapted to {facts['learned']:,} members of the family, {facts['held_out']:,} held out by "
        f"whole clusters: {facts['parameters_trained']:,} parameters of the decoder, the encoder frozen, "
        f"{facts['steps']:,} steps of {settings['batch']} members, {settings['length']} residues, "
        f"{settings['optimiser']} at {settings['learning_rate']:g}. The paper has 2 epochs at 3e-4 and 500 designs.",
        "",
        "| trained | parameters | nats a held-out residue before | after | perplexity before | after |",
        "|---|---|---|---|---|---|",
        *(tuned_row(name, work / folder) for name, folder in ways.items() if (work / folder).is_dir()),
        "",
        "| designs | number | different | share ended by the model | mean length | nats a residue | identity with the "
        "member the prompt is from | commonest residue |",
        "|---|---|---|---|---|---|---|---|",
        *(set_row(name, path) for name, path in family_sets(work)),
        "",
        "`sampled`: drawn without beams; `unadapted`: the same model, prompts and search before adapting. The clusters "
        "are those of the data's file, which does not tell how alike members of different ones are. Lengths end at 256,"
        " the paper's setting.",
        "",
        judged_without_beams(work),
        "",
        "## A nanobody",
        "",
        f"{NANOBODY} (SAbDab), by `design one --recipe nanobody` (50 % hidden, t = 1) and `nanobody-warm` (40 %, "
        "t = 1.5): 20 masks, 5 results of 30 beams each; `sampled`: drawn without beams. Beams find what the model "
        "thinks likeliest, and a small model thinks much of A and G anywhere; drawing keeps to natural composition.",
        "",
        "| designs | number | different | nats a residue | identity with the parent | least to most | commonest "
        "residue |",
        "|---|---|---|---|---|---|---|",
        *(nanobody_row(path) for path in nanobody_sets(work)),
        "",
        "## Mutants of GB1 that a predictor prefers",
        "",
        "A linear predictor on mean embeddings, learned from 424 single and double mutants (FLIP two-vs-rest, a tenth "
        "of them to choose its epoch by); mutants of up to four changes at four sites proposed by `design directed`, "
        "and looked up among those that were measured and not learned from. `masked-marginal` has learned from none.",
        "",
        *design_gb1.told(work / "gb1"),
        "",
    ]
    return "\n".join(lines)


def tuned_row(name: str, folder: Path) -> str:
    """What a way of tuning came to, in its best epoch."""
    facts = json.loads((folder / "adaptation.json").read_text())
    losses = [facts["history"][number]["held_out_loss"] for number in (0, facts["best_epoch"])]
    cells = [name, f"{facts['parameters_trained']:,}", *(f"{loss:.3f}" for loss in losses)]
    return f"| {' | '.join([*cells, *(f'{math.exp(loss):.2f}' for loss in losses)])} |"


def set_row(name: str, path: Path) -> str:
    """One set of designs."""
    rows = read_rows(path)
    ended = statistics.mean(row["ended"] == "yes" for row in rows)
    length = statistics.mean(len(row["sequence"]) for row in rows)
    cells = [name, *counts(rows), f"{ended:.0%}", f"{length:.0f}", mean(rows, "mean_log_prob"), mean(rows, "identity")]
    return f"| {' | '.join([*cells, commonest(rows)])} |"


def nanobody_row(path: Path) -> str:
    """One set of designs of one parent."""
    rows = read_rows(path)
    identities = sorted(float(row["identity"]) for row in rows)
    span = f"{identities[0]:.2f} to {identities[-1]:.2f}"
    cells = [path.stem, *counts(rows), mean(rows, "mean_log_prob"), mean(rows, "identity"), span, commonest(rows)]
    return f"| {' | '.join(cells)} |"


def read_rows(path: Path) -> list[dict[str, str]]:
    """The table beside a FASTA file."""
    with path.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))


def counts(rows: list[dict[str, str]]) -> list[str]:
    """How many, and how many different ones."""
    return [f"{len(rows):,}", f"{len({row['sequence'] for row in rows}):,}"]


def mean(rows: list[dict[str, str]], column: str) -> str:
    """Of the cells that are filled."""
    cells = [float(row[column]) for row in rows if row[column]]
    return f"{statistics.mean(cells):.3f}" if cells else "-"


def commonest(rows: list[dict[str, str]]) -> str:
    """The residue there is most of, and its share."""
    letters = Counter("".join(row["sequence"] for row in rows))
    ((letter, num),) = letters.most_common(1)
    return f"{letter} {num / letters.total():.0%}"


if __name__ == "__main__":
    main()
