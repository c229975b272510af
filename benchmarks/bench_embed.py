"""Embedding real proteins with an encoder as wide as Ankh base, beside transformers' T5EncoderModel."""

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from measuring import RealProteins, Timing, draw_proteins, interleaved, relative_error
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.vocab import EOS, ankh_vocab

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEER_BUDGETS = (0, 1024, 4096)
"""Padded tokens of a batch of the peer, proteins sorted by length; 0 is one by one."""


def base_config(num_layers: int) -> ModelConfig:
    """The encoder of Ankh base, 12 heads of 64, with fewer layers."""
    return ModelConfig(144, 768, 3072, 64, 12, num_encoder_layers=num_layers, num_decoder_layers=0)


def our_model(num_layers: int, dtype: torch.dtype) -> Ankh:
    """Random weights, T5's own."""
    model = Ankh(base_config(num_layers))
    initialise(model, ankh_vocab(), "published", seed=0)
    return model.eval().to(dtype)


def peer_model(num_layers: int, dtype: torch.dtype, weights: Mapping[str, Tensor] | None = None) -> Any:
    """The encoder in transformers, with its fastest attention and these weights, else random ones."""
    import transformers

    settings = {name: value for name, value in base_config(num_layers).to_hf().items() if name != "architectures"}
    model: Any = transformers.T5EncoderModel._from_config(transformers.T5Config(**settings), attn_implementation="sdpa")
    if weights is not None:
        model.load_state_dict({**weights, "encoder.embed_tokens.weight": weights["shared.weight"]})
    return model.eval().to(dtype)


@torch.inference_mode()
def peer_states(model: Any, tokens: Sequence[Tensor], budget: int) -> list[Tensor]:
    """The residues' rows of each protein, by batches of neighbours in length."""
    states: dict[int, Tensor] = {}
    for batch in batches_by_length([len(each) for each in tokens], budget):
        inputs = pad_sequence([tokens[number] for number in batch], batch_first=True)
        mask = pad_sequence([torch.ones_like(tokens[number]) for number in batch], batch_first=True)
        alone = len(batch) == 1
        hidden = model(input_ids=inputs, attention_mask=None if alone else mask).last_hidden_state
        states |= {number: rows[: len(tokens[number]) - 1] for number, rows in zip(batch, hidden, strict=True)}
    return [states[number] for number in range(len(tokens))]


def batches_by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Numbers of proteins, longest first, in batches of at most `budget` padded tokens, or one by one."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def our_states(model: Ankh, encoder: Encoder, options: EmbedOptions, proteins: RealProteins) -> list[Tensor]:
    """The residues' rows of each protein, from text to arrays.

    An embedder keeps what it made of a sequence and does not compute it again, so each call has one of its own.
    """
    embedder = Embedder(model, ankh_vocab(), options, encoder)
    states = [torch.from_numpy(rows) for _, rows in embedder.embed(proteins.records)]
    assert not embedder.num_reused, "a result was not computed"
    return states


def measure(proteins: RealProteins, num_layers: int, dtype: str, num_threads: int, num_rounds: int) -> str:
    """A line of the table."""
    vocab = ankh_vocab()
    tokens = [torch.tensor([*vocab.encode(record.sequence), EOS]) for record in proteins.records]
    weights = our_model(num_layers, torch.float32).state_dict()
    peer = peer_model(num_layers, DTYPES[dtype], weights)
    ours, options = our_model(num_layers, DTYPES[dtype]), EmbedOptions(pool="residues")
    encoder = for_inference(ours)
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "one by one" if not budget else f"sorted, {budget:,}": lambda budget=budget: peer_states(peer, tokens, budget)
        for budget in PEER_BUDGETS
    }
    names = list(ways)
    ways["ours"] = lambda: our_states(ours, encoder, options, proteins)
    exact = peer_states(peer_model(num_layers, torch.float32, weights), tokens, 0)
    errors = [relative_error(ways[name](), exact) for name in ("ours", names[0])]
    timings = interleaved(ways, num_rounds, num_threads)
    best = min(names, key=lambda name: timings[name].median)
    return row(proteins, dtype, num_threads, best, timings[best], timings["ours"], errors)


def row(
    proteins: RealProteins,
    dtype: str,
    num_threads: int,
    how: str,
    theirs: Timing,
    ours: Timing,
    errors: Sequence[float],
) -> str:
    """Rates by the median round; both ratios, by medians and by best rounds."""
    rates = [f"{proteins.num_residues / timing.median:,.0f}" for timing in (theirs, ours)]
    ratios = f"{theirs.median / ours.median:.2f} ({theirs.best / ours.best:.2f})"
    cells = [dtype, str(num_threads), f"{rates[0]} ({how})", rates[1], ratios, f"{errors[0]:.1e}", f"{errors[1]:.1e}"]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=16)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    proteins = draw_proteins(options.proteins)
    print(
        "| numbers | threads | transformers, residues/s | OpenAnkh, residues/s | ratio (best rounds) | L2 | their L2 |"
    )
    print("|---|---|---|---|---|---|---|")
    for dtype in options.dtypes:
        for num_threads in options.threads:
            print(measure(proteins, options.layers, dtype, num_threads, options.rounds), flush=True)
    print(
        f"\n{len(proteins.records)} {proteins.origin}, {proteins.num_residues:,} residues, the longest of "
        f"{proteins.longest:,}; width 768, 12 heads of 64, feed-forward 3,072, {options.layers} of the 48 layers, "
        f"random weights. Median of {options.rounds} interleaved rounds: one thread by CPU time, more by wall. "
        "transformers: sdpa, ids prepared beforehand, the best of one protein a call and batches sorted by length of "
        "at most 1,024 and 4,096 padded tokens. OpenAnkh: from text to arrays. Only residues are counted. L2: relative "
        "distance to the fp32 states of transformers."
    )


if __name__ == "__main__":
    main()
