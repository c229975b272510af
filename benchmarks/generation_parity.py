"""Whether OpenAnkh writes what transformers' `generate` writes, token for token: 200 real prompts, greedy and 10 beams.

    python benchmarks/generation_parity.py [--prompts 200] [--longest 100]

Prints a table. Each prompt goes to transformers alone, so that it pads nothing; OpenAnkh takes all together. Where
texts differ, the log-probabilities of both are told: a difference below 1e-4 is a tie within rounding.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from generation_rivals import Pair, bundled_pair, draw_prompts, random_pair, theirs

from openankh.config import ModelConfig
from openankh.fasta import Record
from openankh.generation.method import Method

TIE = 1e-4
SMALL = ModelConfig(256, 96, 256, 32, 4, 4, 3, activation="silu")


def pairs() -> Iterator[Pair]:
    """The bundled model and one with random weights, large enough to give texts of many residues."""
    yield bundled_pair("fp32")
    yield random_pair("random weights", SMALL, "fp32", scale=2.0)


def line(pair: Pair, records: Sequence[Record], method: Method) -> tuple[str, bool]:
    """One line of the table, and whether all texts are the same but for ties."""
    completions = list(pair.completer(method).complete(records))
    same = ties = 0
    worst = 0.0
    for completion in completions:
        (text,) = theirs(pair, [completion], 1, method.num_beams if method.has_beams else 1)
        if text == completion.written:
            same += 1
            continue
        gap = abs(pair.sum_log_prob(completion, text) - pair.sum_log_prob(completion, completion.written))
        worst, ties = max(worst, gap), ties + (gap < TIE)
    others = len(completions) - same - ties
    num_residues = sum(len(completion.written) for completion in completions)
    kinds = len({letter for completion in completions for letter in completion.written})
    cells = [pair.name, str(method), f"{len(records)}", f"{num_residues:,}", f"{kinds}", f"{same}", f"{ties}"]
    return f"| {' | '.join(cells)} | {others} | {worst:.1e} |", not others


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; code 1 where texts differ that are no ties."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--longest", type=int, default=100, help="residues of a protein, of which half are kept")
    chosen = parser.parse_args(arguments)
    records = draw_prompts(chosen.prompts, chosen.longest)
    print("| weights | method | prompts | residues | kinds | same text | ties | other | largest difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    good = True
    for pair in pairs():
        for method in (Method(), Method("beam")):
            text, holds = line(pair, records, method)
            good = good and holds
            print(text, flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
