"""How good the bundled model's completions of held-out proteins are, beside what knows less; Markdown tables.

    python benchmarks/completion.py [--proteins 400] [--training 300000] [--longest 512]

Half of each protein is kept. Perplexity: of the true second half, each residue given all before it, over the 20
standard residues. Recovery: the share of written residues that equal the true ones at the same place, the mean over
proteins, with the 95 % interval of 1,000 resamplings of the proteins. The unigram and the Markov chain of order 3 (each
order smoothed by the one below) are fitted on training proteins; random weights are the bundled model's shape as
training begins.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from generation_rivals import Pair, bundled_pair, draw_prompts, random_pair
from measuring import SHARED
from numpy.typing import NDArray

from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.generation.completion import Completer
from openankh.generation.likelihood import Question, log_probs
from openankh.generation.method import Method
from openankh.generation.options import CompletionOptions
from openankh.generation.stretch import Stretch
from openankh.vocab import AMINO_ACIDS, EOS

ORDER = 3
SMOOTHING = 20.0
"""How many observations the lower order counts as."""

TOGETHER = 2_000
"""Proteins counted at once."""

NUMBERS = {letter: number for number, letter in enumerate(AMINO_ACIDS)}


@dataclass(frozen=True, eq=False)
class MarkovChain:
    """`tables[k]` (20 ** k, 20): probabilities of a residue after each k residues."""

    tables: tuple[NDArray[np.float64], ...]

    @classmethod
    def fit(cls, proteins: Sequence[NDArray[np.int8]], order: int) -> "MarkovChain":
        """Count, each order smoothed by the one below."""
        tables = [np.full((1, 20), 1 / 20)]
        for k in range(order + 1):
            counts = np.zeros(20 ** (k + 1), np.int64)
            for first in range(0, len(proteins), TOGETHER):
                keys = [_keys(ids, k + 1) for ids in proteins[first : first + TOGETHER]]
                counts += np.bincount(np.concatenate(keys), minlength=len(counts))
            counts = counts.reshape(-1, 20)
            below = np.tile(tables[-1], (len(counts) // len(tables[-1]), 1))
            tables.append((counts + SMOOTHING * below) / (counts.sum(1, keepdims=True) + SMOOTHING))
        return cls(tuple(tables[1:]))

    def next_residue(self, ids: Sequence[int] | NDArray[np.int8]) -> NDArray[np.float64]:
        """Probabilities of what follows."""
        k = min(len(ids), len(self.tables) - 1)
        key = 0
        for number in ids[len(ids) - k :]:
            key = 20 * key + int(number)
        return self.tables[k][key]

    def write(self, ids: NDArray[np.int8], num: int, rng: np.random.Generator | None) -> list[int]:
        """Continue, by the likeliest residue or a drawn one."""
        written = ids.tolist()
        for _ in range(num):
            chances = self.next_residue(written)
            written.append(int(chances.argmax()) if rng is None else int(rng.choice(20, p=chances)))
        return written[len(ids) :]

    def log_probs(self, ids: NDArray[np.int8], kept: int) -> NDArray[np.float64]:
        """Of each residue after the kept ones, given all before."""
        return np.array([math.log(self.next_residue(ids[:at])[ids[at]]) for at in range(kept, len(ids))])


def _keys(ids: NDArray[np.int8], length: int) -> NDArray[np.int64]:
    """Every `length` neighbours as one number."""
    num = max(len(ids) - length + 1, 0)
    keys = np.zeros(num, np.int64)
    for shift in range(length):
        keys = 20 * keys + ids[shift : shift + num]
    return keys


def numbers_of(sequence: str) -> NDArray[np.int8]:
    """Residues as numbers 0 to 19."""
    return np.frombuffer(sequence.translate(_TO_NUMBERS).encode("latin-1"), np.int8)


_TO_NUMBERS = str.maketrans({letter: chr(number) for letter, number in NUMBERS.items()})


def training_proteins(count: int) -> list[NDArray[np.int8]]:
    """The first representatives of 50 % identity clusters, others than the standard residues left out."""
    reader = FastaReader(SHARED / "data" / "pretrain" / "train.fasta.xz", ReadOptions("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    drop = str.maketrans("", "", "BJOUXZ")
    representatives = (record for record in reader if "rep50" in record.description.split())
    return [numbers_of(record.sequence.translate(drop)) for record in islice(representatives, count)]


def model_log_probs(pair: Pair, records: Sequence[Record], kept: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """Of each residue after the kept ones, among the 20 standard residues."""
    vocab = pair.vocab
    prefix, standard = vocab.prefix_id("[S2S]"), vocab.encode(AMINO_ACIDS).astype(np.int64)
    ids = [vocab.encode(record.sequence).astype(np.int64) for record in records]
    questions = [
        Question(np.concatenate([[prefix], each[:cut], [EOS]]), each[cut:]) for each, cut in zip(ids, kept, strict=True)
    ]
    for question, rows in zip(questions, log_probs(pair.reader, questions), strict=True):
        among = rows[:, standard].astype(np.float64)
        among -= np.log(np.exp(among).sum(1, keepdims=True))
        chosen = [NUMBERS[letter] for letter in vocab.decode(question.targets)]
        yield among[np.arange(len(among)), chosen]


def model_texts(pair: Pair, records: Sequence[Record], method: Method, seed: int = 0) -> list[str]:
    """What the model writes after the first half of each."""
    options = CompletionOptions(Stretch(keep=0.5), method, seed=seed)
    completer = Completer(pair.reader, pair.vocab, pair.model.config.vocab_size, options)
    return [completion.written for completion in completer.complete(records)]


def perplexity(log_probs_of: Sequence[NDArray[np.float64]]) -> float:
    """Over all residues together."""
    return math.exp(-float(np.concatenate(log_probs_of).mean()))


def recovery(texts: Sequence[str], truths: Sequence[str]) -> str:
    """The mean share of equal residues, per cent, with its interval."""
    shares = np.array(
        [np.mean([a == b for a, b in zip(text, truth, strict=True)]) for text, truth in zip(texts, truths, strict=True)]
    )
    rng = np.random.default_rng(0)
    means = [shares[rng.integers(0, len(shares), len(shares))].mean() for _ in range(1_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * shares.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def kinds(texts: Sequence[str]) -> str:
    """How varied texts are: the mean over them of e to the entropy of their composition, in residues."""
    found = []
    for text in texts:
        shares = np.unique(list(text), return_counts=True)[1] / len(text)
        found.append(math.exp(-(shares * np.log(shares)).sum()))
    return f"{np.mean(found):.1f}"


def chain_lines(
    name: str, order: int, num_training: int, records: Sequence[Record], kept: Sequence[int], truths: Sequence[str]
) -> Iterator[str]:
    """A baseline's lines of the table."""
    chain = MarkovChain.fit(training_proteins(num_training), order)
    ids = [numbers_of(record.sequence) for record in records]
    of_truth = perplexity([chain.log_probs(each, cut) for each, cut in zip(ids, kept, strict=True)])
    rng = np.random.default_rng(0)
    for method, draws in (("greedy", None), ("sample", rng)):
        written = [chain.write(each[:cut], len(each) - cut, draws) for each, cut in zip(ids, kept, strict=True)]
        texts = ["".join(AMINO_ACIDS[number] for number in each) for each in written]
        yield f"| {name} | {method} | {of_truth:.2f} | {recovery(texts, truths)} | {kinds(texts)} |"


def model_lines(
    name: str,
    pair: Pair,
    methods: Sequence[Method],
    records: Sequence[Record],
    kept: Sequence[int],
    truths: Sequence[str],
) -> Iterator[str]:
    """A model's lines of the table."""
    of_truth = perplexity(list(model_log_probs(pair, records, kept)))
    for method in methods:
        texts = model_texts(pair, records, method)
        yield f"| {name} | {method} | {of_truth:.2f} | {recovery(texts, truths)} | {kinds(texts)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proteins", type=int, default=400)
    parser.add_argument("--training", type=int, default=300_000, help="proteins the chains are fitted on")
    parser.add_argument("--longest", type=int, default=512, help="residues; longer proteins are cut there")
    parser.add_argument("--who", nargs="*", choices=["unigram", "markov", "random", "nano"], help="default: all")
    chosen = parser.parse_args(arguments)
    records = draw_prompts(chosen.proteins, chosen.longest)
    kept = [int(len(record.sequence) / 2 + 0.5) for record in records]
    truths = [record.sequence[cut:] for record, cut in zip(records, kept, strict=True)]
    print(f"{len(records)} held-out proteins, {sum(map(len, truths)):,} residues to write.\n")
    print(
        "| who | method | perplexity of the truth | recovery, % | kinds of residues in a text |\n|---|---|---|---|---|"
    )
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "unigram": lambda: chain_lines("unigram", 0, chosen.training, records, kept, truths),
        "markov": lambda: chain_lines(f"Markov chain of order {ORDER}", ORDER, chosen.training, records, kept, truths),
        "random": lambda: model_lines("random weights", _untrained(), METHODS[:2], records, kept, truths),
        "nano": lambda: model_lines("openankh-nano", bundled_pair("fp32"), METHODS, records, kept, truths),
    }
    for part in (parts[who] for who in chosen.who or parts):
        for line in part():
            print(line, flush=True)


METHODS = (
    Method(),
    Method("sample"),
    Method("sample", temperature=0.5),
    Method("sample", top_p=0.9),
    Method("beam"),
    Method("beam-sample", temperature=1.5),
)


def _untrained() -> Pair:
    return random_pair("random weights", bundled_pair("fp32").model.config, "fp32")


if __name__ == "__main__":
    main()
