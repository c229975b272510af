"""Embedding beside every rival on CPUs: real proteins at their own lengths and at fixed ones, in one process."""

import argparse
import contextlib
import datetime
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from bench import machine
from bench_embed import DTYPES, our_model, our_states, peer_model, peer_states
from measuring import RealProteins, Timing, draw_proteins, interleaved, relative_error, torch_threads
from rivals import Way
from torch import Tensor
from torch.nn.functional import cosine_similarity

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.files import write_file_atomically
from openankh.inference import for_inference
from openankh.native import kernels
from openankh.precision import Precision
from openankh.vocab import EOS, ankh_vocab

OUT = Path(__file__).with_name("EMBED.md")
PACKAGES = ("openvino", "nncf", "ctranslate2", "onnxruntime")
NUMBERS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
RESIDUES_OF_A_ROUND = 2048
CALIBRATION = 8
LONG = 4096
HEAD = "| numbers | who | residues/s | ours to it (best rounds) | cosine | L2 |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Result:
    """What was measured of one way."""

    numbers: str
    who: str
    name: str
    timing: Timing
    cosine: float
    distance: float


def proteins_of(length: int | None, num_proteins: int) -> RealProteins:
    """Real proteins at their own lengths, or end to end and cut to one length."""
    drawn = draw_proteins(num_proteins if length is None else 200)
    if length is None:
        return drawn
    text = "".join(record.sequence for record in drawn.records)
    num = max(RESIDUES_OF_A_ROUND // length, 1)
    records = [Record(f"cut{n}", "", text[n * length : (n + 1) * length], n + 1) for n in range(num)]
    return RealProteins(tuple(records), f"cuts of {drawn.origin}, laid end to end")


def rival_ways(num_layers: int, num_proteins: int, num_threads: int) -> Iterator[Way]:
    """All rivals with the weights of our model."""
    from rivals import ctranslate2_t5, onnxruntime_t5, openvino_t5, transformers_t5

    weights = our_model(num_layers, torch.float32).state_dict()
    sdpa, eager = (peer_model(num_layers, torch.float32, weights) for _ in range(2))
    eager.set_attn_implementation("eager")
    yield from transformers_t5.ways(eager, sdpa, peer_model(num_layers, torch.bfloat16, weights), num_proteins)
    yield from openvino_t5.ways(sdpa, tokens_of(draw_proteins(CALIBRATION, seed=1)), num_threads)
    yield from ctranslate2_t5.ways(sdpa, num_threads)
    yield from onnxruntime_t5.ways(eager, num_threads)


def our_ways(num_layers: int, proteins: RealProteins) -> Iterator[Way]:
    """OpenAnkh in every precision it has here, from text to arrays."""
    for numbers in NUMBERS:
        model = our_model(num_layers, DTYPES["fp32"])
        with contextlib.suppress(UserError):
            encoder = for_inference(model, numbers)
            options = EmbedOptions(pool="residues", precision=numbers, dtype="fp32")

            run = partial(our_states, model, encoder, options, proteins)
            yield Way("OpenAnkh", numbers, "", lambda tokens, run=run: run())


def tokens_of(proteins: RealProteins) -> list[Tensor]:
    """The ids of each protein and `</s>`."""
    vocab = ankh_vocab()
    return [torch.tensor([*vocab.encode(record.sequence), EOS]) for record in proteins.records]


def section(length: int | None, num_threads: int, options: argparse.Namespace) -> str:
    """The section of one set of proteins and number of threads, measured in processes of their own.

    Where engines keep gigabytes for themselves each kind of numbers has its own process, so that the memory suffices.
    """
    proteins = proteins_of(length, options.proteins)
    load = os.getloadavg()[0]
    together = length is None or length < LONG
    groups = [options.numbers] if together else [[numbers] for numbers in options.numbers]
    jobs = [(length, num_threads, numbers, options) for numbers in groups]
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        results = [each for found in processes.imap(measure, jobs, chunksize=1) for each in found]
    clock = "one thread, CPU time" if num_threads == 1 else f"{num_threads} threads, wall"
    what = "natural lengths" if length is None else f"{length:,} residues"
    about = (
        f"{len(proteins.records)} {proteins.origin}, {proteins.num_residues:,} residues, the longest of "
        f"{proteins.longest:,}. Load {load:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores."
    )
    return f"## {what.capitalize()}, {clock}\n\n{about}\n\n{table(results, proteins.num_residues)}\n"


def measure(job: tuple[int | None, int, Sequence[Precision], argparse.Namespace]) -> list[Result]:
    """All ways that compute in some kinds of numbers."""
    length, num_threads, numbers, options = job
    silence()
    proteins = proteins_of(length, options.proteins)
    tokens = tokens_of(proteins)
    with torch_threads(num_threads):
        ways = [*our_ways(options.layers, proteins), *rival_ways(options.layers, len(tokens), num_threads)]
        ways = [way for way in ways if way.numbers in numbers]
        exact = peer_states(
            peer_model(options.layers, torch.float32, our_model(options.layers, torch.float32).state_dict()), tokens, 0
        )
        errors = [errors_of(way.states(tokens), exact) for way in ways]
    work = {f"{way.numbers} {way.name}": lambda way=way: way.states(tokens) for way in ways}
    timings = interleaved(work, options.rounds, num_threads)
    return [
        Result(way.numbers, way.who, way.name, timings[f"{way.numbers} {way.name}"], *error)
        for way, error in zip(ways, errors, strict=True)
    ]


def silence() -> None:
    """Rivals talk much."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def errors_of(found: Sequence[Tensor], exact: Sequence[Tensor]) -> tuple[float, float]:
    """The mean cosine over residues, and the relative L2 distance."""
    cosine = cosine_similarity(torch.cat(list(found)).double(), torch.cat(list(exact)).double(), dim=1)
    return float(cosine.mean()), relative_error(found, exact)


def table(results: Sequence[Result], num_residues: int) -> str:
    """By numbers, the fastest first; how much faster we are than each."""
    lines = [HEAD]
    for numbers in NUMBERS:
        group = sorted((each for each in results if each.numbers == numbers), key=lambda each: each.timing.median)
        ours = next((each for each in group if each.who == "OpenAnkh"), None)
        lines += [row(each, ours, num_residues) for each in group]
    return "\n".join([*lines, "", *ratios(results)])


def row(result: Result, ours: Result | None, num_residues: int) -> str:
    """A line of the table."""
    timing = result.timing
    ratio = ""
    if ours is not None and ours is not result:
        ratio = f"{timing.median / ours.timing.median:.2f} ({timing.best / ours.timing.best:.2f})"
    cells = [result.numbers, result.name, f"{num_residues / timing.median:,.0f}", ratio]
    return f"| {' | '.join([*cells, f'{result.cosine:.6f}', f'{result.distance:.1e}'])} |"


def ratios(results: Sequence[Result]) -> Iterator[str]:
    """One line a kind of numbers: beside the fastest rival of the same, and beside the best of transformers."""
    for numbers in NUMBERS:
        group = {each.name: each.timing.median for each in results if each.numbers == numbers}
        ours = group.pop("OpenAnkh", None)
        if ours is None or not group:
            continue
        best = min(group, key=lambda name: group[name])
        theirs = [seconds for name, seconds in group.items() if name.startswith("transformers")]
        beside = f", {min(theirs) / ours:.2f} x transformers' best" if theirs else ""
        yield f"- {numbers}: {group[best] / ours:.2f} x the fastest rival ({best}){beside}"


def report(sections: Sequence[str], options: argparse.Namespace) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    engine = (
        "C kernels compiled on this machine, and oneDNN's products" if kernels() else "torch alone, oneDNN's products"
    )
    head = [
        "# Embedding beside other software",
        "",
        f"Written by `{' '.join(['python', 'benchmarks/embed_rivals.py', *sys.argv[1:]])}` (`make bench-embed`).",
        "",
        *machine(),
        f"- rivals: {versions}",
        f"- OpenAnkh's engine: {engine}",
        f"- finished: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"Width 768, 12 heads of 64, feed-forward 3,072, {options.layers} of the 48 layers of Ankh base, the same "
        f"random weights for all, in one process (from {LONG:,} residues on one for each kind of numbers); median of "
        f"{options.rounds} interleaved rounds after one not counted. Only residues are counted. Rivals get ids "
        "prepared beforehand; OpenAnkh goes from text to arrays. Cosine and relative L2 are to the fp32 states of "
        "transformers. int8 errors on random weights say nothing about trained ones. Walls on a machine with other "
        "load say little: see the load of each section.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(sections)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write; the page is written anew after each section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", nargs="+", default=["natural", "512", "2048", "4096"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--numbers", nargs="+", choices=NUMBERS, default=NUMBERS)
    parser.add_argument("--proteins", type=int, default=16)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    silence()
    sections: list[str] = []
    for num_threads in options.threads:
        for name in options.lengths:
            sections.append(section(None if name == "natural" else int(name), num_threads, options))
            print(sections[-1], flush=True)
            write_file_atomically(options.out, report(sections, options).encode())
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
