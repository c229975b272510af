"""8-bit embedding: its speed beside other software's, and how far it is from fp32 on the bundled, trained model."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from bench_embed import base_config, our_model, peer_model
from measuring import SHARED, Timing, draw_proteins, interleaved, relative_error, torch_threads
from numpy.typing import NDArray
from rivals import States
from torch import Tensor
from torch.nn.functional import cosine_similarity

import openankh
from openankh.attention import Documents
from openankh.inference import Encoder, for_inference
from openankh.search.cath import Domains, accuracies, counted, hits_of, nearest_domains
from openankh.vocab import EOS, ankh_vocab

PRECISIONS = ("fp32", "int8")

NUM_TOKENS = 4096
"""Tokens of a batch, as the embedder's on a CPU."""


def our_states(encoder: Encoder, tokens: Sequence[Tensor]) -> list[Tensor]:
    """The residues' rows of each protein, by batches of packed proteins."""
    states: list[Tensor] = []
    for batch in batches(tokens):
        lengths = [len(ids) for ids in batch]
        last_TD = encoder.encode(torch.cat(batch), Documents.of_lengths(lengths)).last_TD.float()
        states += [rows[:-1] for rows in last_TD.split(lengths)]
    return states


def batches(tokens: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive proteins of at most `NUM_TOKENS` together; a longer one is alone."""
    batch: list[Tensor] = []
    for ids in tokens:
        if batch and sum(map(len, batch)) + len(ids) > NUM_TOKENS:
            yield batch
            batch = []
        batch.append(ids)
    yield batch


def protein_sets(names: Sequence[str]) -> dict[str, list[Tensor]]:
    """`natural`: 16 real proteins; a number: as many of that length, cut from real ones, as make 2,048 residues."""
    vocab = ankh_vocab()
    drawn = [np.asarray(vocab.encode(record.sequence)) for record in draw_proteins(400).records]
    residues = np.concatenate(drawn)
    sets: dict[str, list[Tensor]] = {}
    for name in names:
        if name == "natural":
            sets[name] = [torch.tensor([*ids.tolist(), EOS]) for ids in drawn[:16]]
            continue
        length = int(name)
        starts = range(0, max(2048, length), length)
        sets[name] = [torch.tensor([*residues[start : start + length].tolist(), EOS]) for start in starts]
    return sets


def engines(num_layers: int, num_threads: int, names: Sequence[str]) -> dict[str, States]:
    """Ours and the rivals' int8 forms of one model with random weights."""
    model = our_model(num_layers, torch.float32)
    weights = model.state_dict()
    encoder = for_inference(model, "int8")
    found: dict[str, States] = {"OpenAnkh": lambda tokens: our_states(encoder, tokens)}
    peer = peer_model(num_layers, torch.float32, weights)
    if "openvino" in names:
        from rivals import openvino_t5

        calibration = [ids[:256] for ids in protein_sets(["natural"])["natural"]]
        found |= {
            way.who: way.states for way in openvino_t5.ways(peer, calibration, num_threads) if way.numbers == "int8"
        }
    if "ctranslate2" in names:
        from rivals import ctranslate2_t5

        found |= {way.who: way.states for way in ctranslate2_t5.ways(peer, num_threads) if way.numbers == "int8"}
    if "onnxruntime" in names:
        from rivals import onnxruntime_t5

        peer.set_attn_implementation("eager")
        found |= {way.who: way.states for way in onnxruntime_t5.ways(peer, num_threads)}
    return found


def speed_lines(
    name: str, tokens: list[Tensor], ways: Mapping[str, States], num_layers: int, num_threads: int, num_rounds: int
) -> Iterator[str]:
    """One line an engine: residues/s and GFLOP/s of the median round, ours over it, the distance to fp32."""
    encoder = for_inference(our_model(num_layers, torch.float32))
    exact = our_states(encoder, tokens)
    works: dict[str, Callable[[], object]] = {who: lambda states=states: states(tokens) for who, states in ways.items()}
    errors = {who: relative_error(states(tokens), exact) for who, states in ways.items()}
    load = os.getloadavg()[0]
    timings = interleaved(works, num_rounds, num_threads)
    for who, timing in timings.items():
        cells = [name, str(num_threads), who, *rates(tokens, timing, num_layers)]
        cells += [f"{timing.median / timings['OpenAnkh'].median:.2f}", f"{errors[who]:.3f}", f"{load:.1f}"]
        yield f"| {' | '.join(cells)} |"


def rates(tokens: Sequence[Tensor], timing: Timing, num_layers: int) -> list[str]:
    """Residues a second, and GFLOP/s that fp32 would need for them."""
    config = base_config(num_layers)
    matrices = 4 * config.d_model * config.inner + 3 * config.d_model * config.d_ff
    flop = sum(num_layers * (2 * len(ids) * matrices + 4 * len(ids) ** 2 * config.inner) for ids in tokens)
    residues = sum(len(ids) - 1 for ids in tokens)
    return [f"{residues / timing.median:,.0f}", f"{flop / timing.median / 1e9:,.0f}"]


def trained_lines(num_proteins: int) -> Iterator[str]:
    """How far the bundled model's int8 states are from its fp32 states, on real proteins."""
    model = openankh.load("openankh-nano")
    records = draw_proteins(num_proteins, seed=1).records
    exact, found = (
        [
            torch.from_numpy(rows).double()
            for _, rows in model.embed(records, pool="residues", dtype="fp32", precision=p)
        ]
        for p in PRECISIONS
    )
    cosines = torch.cat([cosine_similarity(a, b) for a, b in zip(found, exact, strict=True)])
    means = [torch.stack([rows.mean(0) for rows in states]) for states in (found, exact)]
    yield f"| residues, relative L2 | {relative_error(found, exact):.4f} |"
    yield f"| residues, cosine: mean, least | {cosines.mean():.5f}, {cosines.min():.5f} |"
    yield f"| means of proteins, relative L2 | {relative_error(means[:1], means[1:]):.4f} |"


def cath_lines(num_lookup: int) -> Iterator[str]:
    """Whether the nearest CATH domain stays the same, and how often it has the query's code, in fp32 and int8."""
    folder = SHARED / "data" / "annotation_transfer"
    if not folder.is_dir():
        return
    queries, lookup = Domains.read(folder / "test219.csv.gz"), Domains.read(folder / "lookup_s20.csv.gz")
    kept = np.sort(np.random.default_rng(0).permutation(len(lookup))[:num_lookup])
    ids, sequences = ([column[number] for number in kept] for column in (lookup.ids, lookup.sequences))
    lookup = Domains(tuple(ids), tuple(sequences), lookup.codes[kept])
    found = {p: nearest_domains(queries, lookup, means(queries.sequences, p), means(sequences, p)) for p in PRECISIONS}
    same = 100 * float((found["fp32"].places[:, 0] == found["int8"].places[:, 0]).mean())
    yield f"| CATH: {len(queries)} queries with the same nearest of {len(lookup):,} domains | {same:.1f} % |"
    for precision, neighbours in found.items():
        shares = accuracies(hits_of(queries, lookup, neighbours), counted(queries, lookup)).values()
        yield f"| CATH: accuracy at C, A, T, H, {precision} | {', '.join(f'{share.value:.1f}' for share in shares)} % |"


def means(sequences: Sequence[str], precision: str) -> NDArray[np.floating]:
    """Mean-pooled embeddings of the bundled model (N, D)."""
    model = openankh.load("openankh-nano")
    found = model.embed(list(sequences), dtype="fp32", precision=precision)  # type: ignore[arg-type]  # pyright: ignore
    return np.stack([vector for _, vector in found])


def machine_line() -> str:
    """Which processor and which versions."""
    names = ("torch", "numba", "openvino", "nncf", "ctranslate2", "onnxruntime")
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    processor = f"{found.get('model name')} (family {found.get('cpu family')}), {os.cpu_count()} cores"
    return f"{processor}; {', '.join(f'{name} {version(name)}' for name in names)}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=["natural", "512", "2048", "4096"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rivals", nargs="*", default=["openvino", "ctranslate2", "onnxruntime"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--proteins", type=int, default=100, help="for the distance to fp32; 0 leaves it out")
    parser.add_argument("--lookup", type=int, default=5000, help="CATH domains to search among; 0 leaves it out")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    print(f"`python benchmarks/bench_int8.py {' '.join(arguments or sys.argv[1:])}`\n\n{machine_line()}\n", flush=True)
    if options.proteins:
        print("| bundled model, int8 beside fp32 | |\n|---|---|")
        for line in trained_lines(options.proteins):
            print(line, flush=True)
        for line in cath_lines(options.lookup) if options.lookup else ():
            print(line, flush=True)
    if options.sets:
        print("\n| proteins | threads | engine, int8 | residues/s | GFLOP/s | ratio | L2 | load |")
        print("|---|---|---|---|---|---|---|---|")
    for num_threads in options.threads if options.sets else ():
        with torch_threads(num_threads), torch.inference_mode():
            ways = engines(options.layers, num_threads, options.rivals)
            for name, tokens in protein_sets(options.sets).items():
                for line in speed_lines(name, tokens, ways, options.layers, num_threads, options.rounds):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
