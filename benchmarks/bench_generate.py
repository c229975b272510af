"""Completing real proteins beside transformers' `generate`, and what a step of decoding costs; Markdown tables.

    python benchmarks/bench_generate.py [--layers 6] [--prompts 64] [--rounds 3]

One thread, its CPU time, both in one process in turn, the same weights and prompts: the first half of each protein is
kept, exactly the missing residues are counted. transformers gets its own best batch, proteins sorted by length.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from generation_rivals import Pair, base_wide, bundled_pair, draw_prompts, ours, random_pair, theirs
from measuring import interleaved, torch_threads

from openankh.fasta import Record
from openankh.generation.method import Method

BATCHES = (4, 16, 64)
"""Prompts that transformers is given together, of which its best is taken."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
HEAD = [
    "| network | numbers | method | prompts | residues | OpenAnkh, residues/s | transformers, residues/s (its batch) "
    "| faster | same texts | load |",
    "|---|---|---|---|---|---|---|---|---|---|",
]
STEP_HEAD = ["| rows | ms a step | ms a row | weights + kept, MB | GB/s | GFLOP/s |", "|---|---|---|---|---|---|"]


def best_batch(pair: Pair, records: Sequence[Record], method: Method) -> int:
    """The batch with which transformers takes the least CPU time."""
    completions = list(pair.completer(method).complete(records))
    beams = method.num_beams if method.has_beams else 1
    times: dict[int, float] = {}
    for batch in [batch for batch in BATCHES if batch <= len(records)]:
        start = time.process_time()
        theirs(pair, completions, batch, beams)
        times[batch] = time.process_time() - start
    return min(times, key=lambda batch: times[batch])


def speed_line(pair: Pair, numbers: str, records: Sequence[Record], method: Method, num_rounds: int) -> str:
    """Residues a second of both, of the median round."""
    completer = pair.completer(method)
    completions = list(completer.complete(records))
    beams = method.num_beams if method.has_beams else 1
    batch = best_batch(pair, records, method)
    texts: dict[str, list[str]] = {}
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: texts.update(ours=ours(completer, records)),
        "theirs": lambda: texts.update(theirs=theirs(pair, completions, batch, beams)),
    }
    load = os.getloadavg()[0]
    timings = interleaved(ways, num_rounds, 1)
    residues = sum(len(completion.written) for completion in completions)
    same = sum(a == b for a, b in zip(texts["ours"], texts["theirs"], strict=True))
    cells = [pair.name, numbers, str(method), f"{len(records)}", f"{residues:,}"]
    cells.append(f"{residues / timings['ours'].median:,.0f}")
    cells.append(f"{residues / timings['theirs'].median:,.0f} ({batch})")
    cells += [f"{timings['theirs'].median / timings['ours'].median:.1f}", f"{same} of {len(records)}", f"{load:.1f}"]
    return f"| {' | '.join(cells)} |"


def step_lines(pair: Pair, num_source: int = 128, num_written: int = 128) -> Iterator[str]:
    """What a step costs with so many rows, each of a protein of its own that has been read and written so far."""
    config, decoder = pair.model.config, pair.reader.decoder
    size = pair.model.shared.weight.element_size()
    matrices = 6 * config.d_model * config.inner + 3 * config.d_model * config.d_ff
    tokens = np.full(num_source, 9, np.int64)
    with torch_threads(1):
        (source,) = pair.reader.read([tokens])
        for rows in ROWS:
            decoding = decoder.begin(1)
            sources = pair.reader.read([np.append(tokens, 5 + number % 20) for number in range(rows)])
            decoding.add(sources, [num_written + 60] * rows)
            for _ in range(num_written // 16):
                decoding.step(np.full((rows, 1, 16), 9))
            seconds = min(_timed(decoding, rows) for _ in range(5))
            kept = config.num_decoder_layers * 2 * config.inner * (num_source + num_written) * rows * size
            weights = config.num_decoder_layers * matrices * size + config.vocab_size * config.d_model * 4
            gflop = (
                rows * 2 * config.num_decoder_layers * (matrices + 2 * config.inner * (num_source + num_written)) / 1e9
            )
            cells = [f"{rows}", f"{1e3 * seconds:.2f}", f"{1e3 * seconds / rows:.3f}"]
            cells += [f"{weights / 1e6:.0f} + {kept / 1e6:.0f}", f"{(weights + kept) / seconds / 1e9:.1f}"]
            yield f"| {' | '.join(cells)} | {gflop / seconds:.0f} |"
        del source


def _timed(decoding: object, rows: int, num_steps: int = 4) -> float:
    start = time.process_time()
    for _ in range(num_steps):
        decoding.step(np.full((rows, 1, 1), 9))  # type: ignore[attr-defined]  # pyright: ignore
    return (time.process_time() - start) / num_steps


def memory_rate(num_bytes: int = 1 << 29) -> float:
    """GB/s at which one thread adds up numbers that lie in memory."""
    numbers = torch.ones(num_bytes // 4)
    with torch_threads(1):
        rates = []
        for _ in range(5):
            start = time.process_time()
            numbers.sum()
            rates.append(num_bytes / (time.process_time() - start) / 1e9)
    return max(rates)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6, help="of encoder and decoder of the wide network")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--beam-prompts", type=int, default=16)
    parser.add_argument("--longest", type=int, default=300, help="residues of a protein")
    parser.add_argument("--wide-longest", type=int, default=120, help="the same for the wide network")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numbers", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--only", choices=["nano", "wide", "steps"])
    chosen = parser.parse_args(arguments)
    for part in [chosen.only] if chosen.only else ["nano", "wide", "steps"]:
        print("\n".join(STEP_HEAD if part == "steps" else HEAD))
        for numbers in chosen.numbers:
            for line in _lines(part, numbers, chosen):
                print(line, flush=True)


def _lines(part: str, numbers: str, chosen: argparse.Namespace) -> Iterator[str]:
    if part == "nano":
        pair, records = bundled_pair(numbers), draw_prompts(chosen.prompts, chosen.longest)
        yield speed_line(pair, numbers, records, Method(), chosen.rounds)
        yield speed_line(pair, numbers, records[: chosen.beam_prompts], Method("beam"), chosen.rounds)
        return
    pair = random_pair(
        f"ankh-base's widths, {chosen.layers} + {chosen.layers} layers", base_wide(chosen.layers), numbers
    )
    if part == "steps":
        yield f"| **{numbers}**, memory read at {memory_rate():.1f} GB/s | | | | | |"
        yield from step_lines(pair)
        return
    records = draw_prompts(chosen.prompts, chosen.wide_longest)
    yield speed_line(pair, numbers, records, Method(), chosen.rounds)
    yield speed_line(pair, numbers, records[: chosen.beam_prompts], Method("beam"), chosen.rounds)


if __name__ == "__main__":
    main()
