"""What common batches save the model itself, without HTTP: one thread's CPU time of both ways, in turn.

OMP_NUM_THREADS=1 python benchmarks/bench_serve_engine.py [--proteins 100] [--rounds 2]
"""

import argparse
from collections.abc import Sequence

import torch
from measuring import draw_proteins, interleaved

import openankh
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.serve.model_host import ModelHost
from openankh.serve.waiting import Line, Request


def line(model: ModelHost, records: Sequence[Record], num_rounds: int) -> str:
    """One row of the table."""
    options = model.completed(EmbedOptions())

    def together() -> None:
        waiting = Line()
        for record in records:
            waiting.add(Request([record], options))
        while waiting:
            for part in waiting.batch(options, model.max_tokens(options)).parts:
                model.embed(options, [record for _, record in part])

    def alone() -> None:
        for record in records:
            model.embed(options, [record])

    timings = interleaved({"together": together, "alone": alone}, num_rounds, 1)
    seconds = timings["together"].median, timings["alone"].median
    mean = sum(len(record.sequence) for record in records) / len(records)
    rates = [f"{len(records) / each:.0f}" for each in seconds]
    cells = [f"{len(records)}, of {mean:.0f} residues on average", *rates, f"{seconds[1] / seconds[0]:.2f}"]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proteins", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model, drawn = ModelHost(openankh.load("openankh-nano", device="cpu")), draw_proteins(5_000).records
    print("| proteins | together, a CPU second | one at a time, a CPU second | so many times |\n|---|---|---|---|")
    for longest in (1_000, 100):
        records = [record for record in drawn if len(record.sequence) <= longest][: chosen.proteins]
        print(line(model, records, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
