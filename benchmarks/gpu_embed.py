"""Embedding real proteins on a GPU with an encoder of the shape of Ankh base, beside transformers' T5EncoderModel.

    python benchmarks/gpu_embed.py [--device cuda] [--layers 48]

Not part of `make bench`, which runs on any machine. Both read the same proteins and leave the residues' rows on the
CPU; the first rounds compile kernels and are not counted.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from bench_embed import base_config, our_model, peer_model, peer_states, relative_error
from measuring import RealProteins, draw_proteins
from torch import Tensor

from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.vocab import EOS, ankh_vocab

PEER_BUDGETS = (16_384, 65_536, 262_144)
"""Padded tokens of a batch of the peer, proteins sorted by length."""


def seconds(work: Callable[[], list[Tensor]], num_rounds: int) -> tuple[float, list[Tensor]]:
    """The median round, after two that are not counted, and what the work gave."""
    rounds, found = [], []
    for _ in range(num_rounds + 2):
        start = time.perf_counter()
        found = work()  # ends on the CPU, so the device has finished
        rounds.append(time.perf_counter() - start)
    return statistics.median(rounds[2:]), found


def flops(proteins: RealProteins, num_layers: int) -> float:
    """Floating-point operations of the encoder's matrix products, attention included."""
    config = base_config(num_layers)
    weights = 2 * num_layers * config.d_model * (4 * config.inner + 3 * config.d_ff)
    lengths = [len(record.sequence) for record in proteins.records]
    return sum(length * (weights + 4 * num_layers * config.inner * length) for length in lengths)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--proteins", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    device = torch.device(options.device)
    proteins, vocab = draw_proteins(options.proteins), ankh_vocab()
    tokens = [torch.tensor([*vocab.encode(record.sequence), EOS], device=device) for record in proteins.records]
    model = our_model(options.layers, torch.bfloat16)
    peer = peer_model(options.layers, torch.bfloat16, model.state_dict()).to(device)
    embedder = Embedder(model.to(device), vocab, EmbedOptions(pool="residues"))

    def ours() -> list[Tensor]:
        return [torch.from_numpy(rows) for _, rows in embedder.embed(proteins.records)]

    def theirs(budget: int) -> list[Tensor]:
        return [rows.float().cpu() for rows in peer_states(peer, tokens, budget)]

    print("| way, bf16 | residues/s | TFLOP/s | OpenAnkh is so many times as fast |\n|---|---|---|---|")
    own, states = seconds(ours, options.rounds)
    work = flops(proteins, options.layers)
    print(f"| OpenAnkh | {proteins.num_residues / own:,.0f} | {work / own / 1e12:.1f} | |", flush=True)
    error = 0.0
    for budget in PEER_BUDGETS:
        spent, expected = seconds(lambda budget=budget: theirs(budget), options.rounds)
        error = relative_error(states, expected)
        rate = f"{proteins.num_residues / spent:,.0f} | {work / spent / 1e12:.1f}"
        print(f"| transformers, {budget:,} padded tokens | {rate} | {spent / own:.2f} |", flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else options.device
    print(
        f"\n{len(proteins.records):,} {proteins.origin}, {proteins.num_residues:,} residues; {options.layers} layers, "
        f"random weights; {name}, torch {torch.__version__}. Relative L2 between the two: {error:.1e}."
    )


if __name__ == "__main__":
    main()
