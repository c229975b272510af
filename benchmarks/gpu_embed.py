"""Embedding on a GPU beside transformers, on encoders of the shapes of Ankh base and Ankh large, in one short call.

    PYTHONPATH=src python benchmarks/gpu_embed.py --fasta PROTEINS.fasta.xz --out gpu_embed.md
    PYTHONPATH=src python benchmarks/gpu_embed.py --rehearse          the same on a CPU, tiny, to see that it runs

Needed: Python 3.11 or newer with torch 2.11 or newer, Triton, a C compiler, numpy, safetensors, and transformers 5.17
or newer, which has sdpa for T5. It ends within --minutes (7.5): what there was no time for is said so, and what a way
fails at stands in its row.

Ways, all in bf16 with the same random weights, rounds in turn, ids on the device beforehand, states left there:
- OpenAnkh, packed: proteins end to end, FlexAttention reading the relative bias from its vector by distance;
- transformers: T5EncoderModel, proteins sorted by length and padded to a multiple of 8, in batches of at most so many
  padded tokens; sdpa as torch chooses its kernel, sdpa by cuDNN, and by cuDNN with every layer compiled, which is the
  strongest of them expected. The best number of padded tokens is found first, for each way;
- OpenAnkh, text to vectors: what a user gets: encoding, mean pooling and the copy to the CPU included.
On real proteins of natural lengths, and at 512, 2,048 and 4,096 residues alone. Only residues are counted.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from gpu_ways import OURS, Case, Networks, Plan, Way

from openankh.config import ModelConfig
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.pretraining.flops import encoder_flops, measured_peak
from openankh.vocab import EOS, ankh_vocab

BUNDLED = Path(__file__).resolve().parents[1] / "src" / "openankh" / "data" / "demo.fasta"
SHAPES = {
    "base": ModelConfig(144, 768, 3072, 64, 12, num_encoder_layers=48, num_decoder_layers=0),
    "large": ModelConfig(144, 1536, 3840, 64, 16, num_encoder_layers=48, num_decoder_layers=0),
}
REHEARSED = {"tiny": ModelConfig(144, 64, 96, 16, 4, num_encoder_layers=2, num_decoder_layers=0)}
LENGTHS = (512, 2048, 4096)
PADDED_TOKENS = (16_384, 65_536, 131_072)
SHEET_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}
"""Operations a second of bf16 products without sparsity, from NVIDIA's data sheets."""
GOAL_RATIO, GOAL_SHARE = 1.5, 0.5


def read_proteins(path: Path) -> list[Record]:
    """All proteins of a file, in a random order."""
    records = list(FastaReader(path, ReadOptions(letters=ankh_vocab().letters, unknown="x")))
    order = np.random.default_rng(0).permutation(len(records))
    return [records[number] for number in order]


def cases(records: Sequence[Record], config: ModelConfig, plan: Plan) -> Iterator[Case]:
    """Real proteins of natural lengths, and pieces of their letters end to end of one length."""
    yield _case("natural lengths", _enough(records, config, plan))
    letters = "".join(record.sequence for record in records)
    for length in plan.lengths:
        starts = range(0, max(len(letters) - length, 1), length)
        pieces = [Record(f"{start}", "", letters[start : start + length], 1) for start in starts]
        yield _case(f"{length:,} residues each", _enough(pieces, config, plan))


def _enough(records: Sequence[Record], config: ModelConfig, plan: Plan) -> list[Record]:
    """The first records that together are the work of a round, or all."""
    work, found = 0.0, []
    for record in records:
        found.append(record)
        work += encoder_flops(config, [len(record.sequence) + 1])
        if work >= plan.round_flops:
            break
    return found


def _case(name: str, records: Sequence[Record]) -> Case:
    vocab = ankh_vocab()
    return Case(name, tuple(records), tuple(torch.tensor([*vocab.encode(r.sequence), EOS]) for r in records))


@torch.inference_mode()
def choose_tokens(ways: Sequence[Way], case: Case, plan: Plan, end: float) -> None:
    """Find for each way how many tokens at once are best; the first run of each is not counted."""
    for way in ways:
        best = float("inf")
        for num_tokens in plan.padded_tokens:
            if way.failure or time.perf_counter() > end:
                break
            run = way.work(case, num_tokens)
            way.time(run, plan)
            seconds = way.time(run, plan)
            if seconds < best and not way.failure:
                best, way.num_tokens = seconds, num_tokens
            elif way.failure and best < float("inf"):
                way.failure = ""  # so many did not fit
                break


@torch.inference_mode()
def measure(ways: Sequence[Way], case: Case, plan: Plan, end: float) -> None:
    """Time each way once a round until there are enough rounds or time is up; a first one of each is not counted."""
    runs = {way.name: warmed(way, case, plan) for way in ways}
    for number in range(plan.num_rounds):
        if number and time.perf_counter() > end:
            return
        for way in ways:
            if way.failure:
                continue
            if plan.is_gpu:
                torch.cuda.reset_peak_memory_stats(plan.device)
            seconds = way.time(runs[way.name], plan)
            if not way.failure:
                way.rounds.append(seconds)
            if plan.is_gpu:
                way.peak_bytes = torch.cuda.max_memory_allocated(plan.device)


def warmed(way: Way, case: Case, plan: Plan) -> Callable[[], object]:
    """What a round does, once it has run: with fewer tokens at once where so many did not fit."""
    for num_tokens in sorted((each for each in plan.padded_tokens if each <= way.num_tokens), reverse=True):
        way.failure, way.num_tokens = "", num_tokens
        run = way.work(case, num_tokens)
        way.time(run, plan)
        if not way.failure:
            break
    return run


def table(shape: str, case: Case, config: ModelConfig, ways: Sequence[Way], peaks: Sequence[float]) -> list[str]:
    """The rows of a case: rates by the median round, shares of the peaks, how many times as fast ours is."""
    work = encoder_flops(config, case.lengths)
    ours = next((statistics.median(way.rounds) for way in ways if way.name == OURS and way.rounds), None)
    rows = []
    for way in ways:
        if not way.rounds:
            rows.append(f"| {shape} | {case.name} | {way.name} | {way.failure or 'no time left'} | | | | | |")
            continue
        seconds = statistics.median(way.rounds)
        shares = " | ".join(f"{work / seconds / peak:.1%}" if peak else "" for peak in peaks)
        ratio = f"{seconds / ours:.2f}" if ours and way.name != OURS else ""
        rate = f"{case.num_residues / seconds:,.0f} | {work / seconds / 1e12:.3g}"
        rows.append(
            f"| {shape} | {case.name} | {way.name}, {way.num_tokens:,} tokens | {rate} | {shares} | "
            f"{way.peak_bytes / 2**30:.1f} | {ratio} |"
        )
    return rows


def verdicts(shape: str, config: ModelConfig, case: Case, ways: Sequence[Way], peak: float) -> Iterator[str]:
    """Whether the goals are met on real proteins: so many times the fastest rival, and such a share of the peak."""
    medians = {way.name: statistics.median(way.rounds) for way in ways if way.rounds}
    rivals = [seconds for name, seconds in medians.items() if name.startswith("transformers")]
    if OURS not in medians or not rivals:
        yield f"- {shape}: not measured"
        return
    ratio = min(rivals) / medians[OURS]
    share = encoder_flops(config, case.lengths) / medians[OURS] / peak
    yield (
        f"- {shape}: {ratio:.2f} times the fastest rival on real proteins (goal {GOAL_RATIO}), {share:.0%} of the peak "
        f"that a large product reaches here (goal for large {GOAL_SHARE:.0%})"
    )


def measure_shape(name: str, config: ModelConfig, records: Sequence[Record], plan: Plan, end: float) -> list[str]:
    """All cases of one shape; the lines of the report."""
    networks, lines = Networks(config, plan), []
    peak = measured_peak(plan.device, torch.bfloat16)
    peaks = (peak, sheet_peak(plan.device))
    best: dict[str, int] = {}
    made = list(cases(records, config, plan))
    for number, case in enumerate(made):
        ways = networks.ways()
        share = (end - time.perf_counter()) / (len(made) - number + (1 if not number else 0))
        if not number:
            choose_tokens(ways, case, plan, time.perf_counter() + share)
            best = {way.name: way.num_tokens for way in ways}
        for way in ways:
            way.num_tokens = best[way.name]
        measure(ways, case, plan, time.perf_counter() + share)
        rows = table(name, case, config, ways, peaks)
        print("\n".join(rows), flush=True)
        lines += rows
        if not number:
            goals = list(verdicts(name, config, case, ways, peak))
    with torch.inference_mode():
        errors = networks.errors(made[0])
    distances = ", ".join(f"{who} {error:.1e}" for who, error in errors.items())
    return [
        *lines,
        *goals,
        f"- {name}: relative L2 of bf16 states to fp32: {distances}; peak {peak / 1e12:.0f} TFLOP/s",
    ]


def sheet_peak(device: torch.device) -> float:
    """What the data sheet says of this GPU, 0 where that is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for known, peak in SHEET_PEAKS.items() if known in name), 0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, and write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", type=Path, default=BUNDLED, help="real proteins; the bundled 216 are too few")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, a tiny network, one round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch._dynamo.config.recompile_limit = 64
    deadline = time.perf_counter() + 60 * options.minutes
    gpu = Plan(torch.device("cuda"), 1.2e14, 5, 8, deadline, LENGTHS, PADDED_TOKENS)
    plan = (
        replace(
            gpu, device=torch.device("cpu"), round_flops=2e8, num_rounds=1, lengths=(64,), padded_tokens=(512, 1024)
        )
        if options.rehearse
        else gpu
    )
    shapes = REHEARSED if options.rehearse else {name: SHAPES[name] for name in options.shapes}
    records = read_proteins(options.fasta)
    lines = [
        "| shape | proteins | way, bf16 | residues/s | TFLOP/s | of what a product reaches | of the data sheet | GiB | "
        "OpenAnkh is so many times as fast |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for number, (name, config) in enumerate(shapes.items()):
        end = time.perf_counter() + plan.seconds_left() / (len(shapes) - number)
        lines += measure_shape(name, config, records, plan, end)
    lines.append(machine(plan, options.fasta, len(records)))
    print("\n".join(line for line in lines if not line.startswith("|")))
    if options.out:
        rows = [line for line in lines if line.startswith("|")]
        options.out.write_text("\n".join([*rows, "", *(line for line in lines if not line.startswith("|"))]) + "\n")


def machine(plan: Plan, fasta: Path, num_records: int) -> str:
    """What it was measured on and with."""
    import transformers

    name = torch.cuda.get_device_name(plan.device) if plan.is_gpu else "CPU (a rehearsal: no figure means anything)"
    return (
        f"- {name}; torch {torch.__version__}, transformers {transformers.__version__}; {num_records:,} proteins of "
        f"{fasta.name}; 48 layers, random weights; medians of rounds in turn; {' '.join(sys.argv)}"
    )


if __name__ == "__main__":
    main()
