"""What a model card states: perplexity of hidden residues, and annotation transfer beside what needs no training.

    python benchmarks/evaluate_nano.py MODEL --corpus CORPUS --cath FOLDER --out FOLDER

CORPUS is made by `openankh prepare` and has the splits train and valid; the CATH folder holds val200.csv.gz and
lookup_s20.csv.gz. Perplexity: all of valid, 20 % of the residues hidden, crops of 512. Annotation transfer: that of
openankh.search.cath, mean-pooled last encoder states. Random models: same shape and vocabulary, T5's initial weights.
Writes evaluation.json and evaluation.md into --out. Two CPU cores need some minutes a model; --reuse takes the rows
that do not depend on the weights from an earlier evaluation.json of the same shape, corpus and seeds.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import openankh
from openankh.checkpoint import load_model, read_config
from openankh.config import ModelConfig
from openankh.corpus import Corpus
from openankh.embedding.embedder import Embedder
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.model_names import resolve
from openankh.objectives import Objective
from openankh.pretraining.evaluation import evaluate
from openankh.pretraining.initialisation import initialise
from openankh.search.cath import (
    LEVELS,
    Domains,
    Features,
    Interval,
    accuracies,
    composition,
    composition_and_dipeptides,
    counted,
    hits,
)
from openankh.vocab import Vocab

CROP = 512
COMPOSITION = "amino-acid composition"
READ_AT_ONCE = 10_000


@dataclass(frozen=True)
class Row:
    """One line of the table: who, perplexity (None where it has no meaning) and accuracy by level."""

    name: str
    perplexity: float | None
    accuracy: dict[str, Interval]


def random_model(config: ModelConfig, vocab: Vocab, seed: int) -> Ankh:
    """An untrained model of the same shape, with T5's own initial weights."""
    model = Ankh(config)
    initialise(model, vocab, "published", seed)
    return model.eval()


def mean_pooled(model: Ankh, vocab: Vocab) -> Features:
    """Sequences to the means of their last encoder states."""
    embedder = Embedder(model, vocab)

    def features(sequences: Sequence[str]) -> NDArray[np.floating]:
        records = [Record(str(place), "", sequence, place) for place, sequence in enumerate(sequences)]
        return np.stack([vector for _, vector in embedder.embed(records)])

    return features


def residue_counts(corpus: Corpus) -> NDArray[np.int64]:
    """How often each id of the vocabulary occurs in a split."""
    counts = np.zeros(corpus.vocab.size, np.int64)
    for start in range(0, len(corpus), READ_AT_ONCE):
        ids, _ = corpus.gather(np.arange(start, min(start + READ_AT_ONCE, len(corpus))))
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def unigram_perplexity(train: Corpus, valid: Corpus) -> float:
    """Perplexity of the residues of `valid` under their frequencies in `train` (one added to each count)."""
    seen = residue_counts(valid)
    logs = np.log((residue_counts(train) + 1) / (train.num_residues + len(seen)))
    return float(np.exp(-(seen * logs).sum() / seen.sum()))


@dataclass(frozen=True)
class Judge:
    """The data that every row is measured on."""

    valid: Corpus
    queries: Domains
    lookup: Domains
    device: torch.device

    def perplexity(self, model: Ankh) -> float:
        """Of hidden residues of the whole validation split."""
        return evaluate(model, self.valid, Objective(), device=self.device, crop=CROP).perplexity

    def row(self, name: str, features: Iterable[Features], perplexities: Sequence[float]) -> Row:
        """One row; hits and perplexities of several models are averaged, queries resampled with their averages."""
        shares_Q4 = np.mean([hits(self.queries, self.lookup, each) for each in features], axis=0)
        accuracy = accuracies(shares_Q4, counted(self.queries, self.lookup))
        return Row(name, float(np.mean(perplexities)) if perplexities else None, accuracy)

    def model_row(self, name: str, models: Iterable[tuple[Ankh, Vocab]]) -> Row:
        """The row of a model, or of several that count as one."""
        on_device = [(model.to(self.device), vocab) for model, vocab in models]
        perplexities = [self.perplexity(model) for model, _ in on_device]
        return self.row(name, [mean_pooled(*each) for each in on_device], perplexities)


def measured_rows(arguments: argparse.Namespace) -> Iterable[Row]:
    """All rows of the table, each as soon as it is measured."""
    train, valid = (Corpus.open(arguments.corpus, split) for split in ("train", "valid"))
    queries, lookup = (Domains.read(arguments.cath / f"{name}.csv.gz") for name in ("val200", "lookup_s20"))
    judge = Judge(valid, queries, lookup, torch.device(arguments.device))
    checkpoint = load_model(resolve(arguments.model), dtype=torch.float32)
    config, vocab = checkpoint.model.config, checkpoint.vocab
    valid.require_vocab(vocab)
    known = reused_rows(arguments)
    if not known:
        yield judge.row(COMPOSITION, [composition], [unigram_perplexity(train, valid)])
        yield judge.row("composition + dipeptides", [composition_and_dipeptides], [])
    yield from known[:2]
    yield judge.model_row(arguments.model, [(checkpoint.model, vocab)])
    if not known:
        random = [(random_model(config, vocab, seed), vocab) for seed in range(arguments.seeds)]
        yield judge.model_row(f"random weights ({arguments.seeds} seeds)", random)
    yield from known[3:]


def reused_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows of the earlier evaluation named by --reuse; none without it."""
    if arguments.reuse is None:
        return []
    earlier = json.loads(arguments.reuse.read_text())
    for name, value in comparable(arguments).items():
        if earlier.get(name) != value:
            raise SystemExit(f"{arguments.reuse}: another {name} than here; measure anew without --reuse")
    rows = earlier["rows"]
    return [
        Row(row["name"], row["perplexity"], {level: Interval(**each) for level, each in row["accuracy"].items()})
        for row in rows
    ]


def comparable(arguments: argparse.Namespace) -> dict[str, object]:
    """What the rows of models without training depend on."""
    return {
        "shape": asdict(read_config(resolve(arguments.model))),
        "corpus_fingerprint": Corpus.open(arguments.corpus, "valid").fingerprint,
        "seeds_of_random_models": arguments.seeds,
    }


def markdown(rows: Sequence[Row]) -> str:
    """The table, and what its numbers are."""
    lines = [
        f"| | perplexity of hidden residues | {' | '.join(LEVELS)} |",
        f"|---|---|{'---|' * len(LEVELS)}",
    ]
    for row in rows:
        cells = [f"{row.accuracy[level].value:.1f} ({_range(row.accuracy[level])})" for level in LEVELS]
        perplexity = "" if row.perplexity is None else f"{row.perplexity:.2f}"
        lines.append(f"| {row.name} | {perplexity} | {' | '.join(cells)} |")
    nums = " / ".join(str(rows[0].accuracy[level].num) for level in LEVELS)
    lines += [
        "",
        "Perplexity: all of the validation split, 20 % of the residues hidden, crops of 512; for composition that of",
        "the residues' frequencies in the training split. C, A, T, H: per cent of CATH val200 whose nearest neighbour",
        "in lookup_s20 (Euclidean, mean-pooled last states; domains of the very same sequence left out) has the same",
        f"class, architecture, topology, superfamily, over the queries whose code occurs in the lookup set ({nums});",
        "in brackets the 95 % interval of 10,000 resamplings of the queries.",
    ]
    return "\n".join(lines) + "\n"


def _range(interval: Interval) -> str:
    return f"{interval.low:.1f} to {interval.high:.1f}"


def facts(arguments: argparse.Namespace) -> dict[str, object]:
    """What was measured, when and with what."""
    return {
        "model": str(arguments.model),
        "date": datetime.date.today().isoformat(),
        "openankh": openankh.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        **comparable(arguments),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--cath", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="random models")
    parser.add_argument("--reuse", type=Path, help="an earlier evaluation.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in measured_rows(arguments):
        rows.append(row)
        print(row.name, row.perplexity, {level: round(row.accuracy[level].value, 1) for level in LEVELS}, flush=True)
    result = {**facts(arguments), "rows": [asdict(row) for row in rows]}
    (arguments.out / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.out / "evaluation.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
