"""A network of real width that transformers writes and we load: the distance at every layer and in the logits.

Every distance is relative L2 over the rows of one protein; of several proteins and layers the largest is told.
"""

import gc
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import REPOSITORY
from torch import Tensor

from openankh.attention import Documents
from openankh.checkpoint import load_model
from openankh.config import ModelConfig
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.vocab import EOS, PAD, Vocab

sys.path.append(str(REPOSITORY / "tests"))  # transformers is the oracle of the tests, and so is this one

from hugging_face_models import PUBLISHED_SHAPES, draw_oracle, quiet_transformers, save_oracle, vocab_of

__all__ = ["PUBLISHED_SHAPES", "Draw", "compare"]

BF16 = torch.bfloat16
COMPANY_LIMITS = {"fp32": 1e-6, "bf16": 5e-3}


@dataclass(frozen=True)
class Draw:
    """A shape and how its weights are drawn; `branch_scale` as in `draw_oracle`."""

    name: str
    shape: ModelConfig
    branch_scale: float
    bf16_limit: float | None
    """None where rounding the weights alone leads further away than a hundredth."""


@dataclass(frozen=True)
class Results:
    """Of each protein: its states at every layer, and the logits of its target."""

    states: list[list[Tensor]]
    logits: list[Tensor]


@dataclass(frozen=True)
class Row:
    """A line of the table: distances of one way to compute, and what they must not exceed."""

    what: str
    layers: float
    worst_layer: int
    last: float
    logits: float | None
    limits: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether the distances are within their limits."""
        return self.limits is None or (self.layers <= self.limits[0] and (self.logits or 0) <= self.limits[1])

    def __str__(self) -> str:
        limits = "" if self.limits is None else f"{self.limits[0]:.0e}, {self.limits[1]:.0e}"
        verdict = "" if self.limits is None else "holds" if self.holds else "**exceeded**"
        logits = "" if self.logits is None else f"{self.logits:.1e}"
        cells = [f"{self.layers:.1e} (layer {self.worst_layer})", f"{self.last:.1e}", logits]
        return f"| {self.what} | {' | '.join(cells)} | {limits} | {verdict} |"


@dataclass(frozen=True)
class Inputs:
    """Proteins as the encoder reads them, and targets as the decoder does."""

    sources: list[Tensor]
    targets: list[Tensor]

    @classmethod
    def of(cls, sequences: Sequence[str], vocab: Vocab) -> "Inputs":
        """Proteins with the prefix their model wants; of each the target is every fifth residue behind a sentinel."""
        prefix = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
        sources = [torch.tensor([*prefix, *vocab.encode(each), EOS]) for each in sequences]
        return cls(sources, [_target(each, vocab) for each in sequences])


def _target(sequence: str, vocab: Vocab) -> Tensor:
    hidden = vocab.encode(sequence[::5])[: vocab.num_sentinels].tolist()
    shown = [piece for pair in zip(vocab.sentinel_ids.tolist(), hidden, strict=False) for piece in pair]
    return torch.tensor([PAD, *shown])


def compare(draw: Draw, sequences: Sequence[str], num_packings: int) -> Iterator[Row | str]:
    """Draw, write, load and compare one model; rows of the table, and sentences that belong below it."""
    vocab = vocab_of(draw.shape)
    inputs = Inputs.of(sequences, vocab)
    with tempfile.TemporaryDirectory() as folder:
        yield _write(draw, vocab, Path(folder))
        oracle = _oracle(Path(folder))
        truth = _results_of_oracle(oracle, inputs)
        yield from _rows_of_oracle(oracle, inputs, truth)
        theirs = _results_of_oracle(oracle.to(BF16), inputs)
        in_bf16 = _row("bf16, transformers", theirs, truth)
        yield in_bf16
        rounded = _results_of_oracle(oracle.to(torch.float32), inputs)
        yield _row("transformers in fp32, its weights rounded to bf16", rounded, truth)
        del oracle, theirs, rounded
        gc.collect()
        yield from _our_rows(Path(folder), draw, inputs, truth, in_bf16, num_packings)


def _write(draw: Draw, vocab: Vocab, folder: Path) -> str:
    """Let transformers write the folder; the number of parameters, counted and asserted."""
    oracle = draw_oracle(draw.shape, branch_scale=draw.branch_scale)
    count = sum(parameter.numel() for parameter in oracle.parameters())
    assert count == draw.shape.num_parameters, f"transformers has {count:,}, we {draw.shape.num_parameters:,}"
    save_oracle(oracle, vocab, folder)
    num_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return f"{count:,} parameters, written by transformers ({num_bytes / 2**30:.2f} GiB)"


def _oracle(folder: Path) -> Any:
    from transformers import T5ForConditionalGeneration

    with quiet_transformers():
        return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def _results_of_oracle(oracle: Any, inputs: Inputs) -> Results:
    results = Results([], [])
    for source, target in zip(inputs.sources, inputs.targets, strict=True):
        output = oracle(input_ids=source[None], decoder_input_ids=target[None], output_hidden_states=True)
        results.states.append([state[0] for state in output.encoder_hidden_states])
        results.logits.append(output.logits[0])
    return results


def _rows_of_oracle(oracle: Any, inputs: Inputs, truth: Results) -> Iterator[Row]:
    """What rounding makes of transformers itself in fp32, told by its own encoder in fp64."""
    encoder = oracle.get_encoder().double()
    with torch.inference_mode():
        exact = [
            [state[0] for state in encoder(source[None], output_hidden_states=True).hidden_states]
            for source in inputs.sources
        ]
    encoder.float()
    yield _row(
        "transformers in fp32, from its encoder in fp64", Results(truth.states, truth.logits), Results(exact, [])
    )


def _our_rows(
    folder: Path, draw: Draw, inputs: Inputs, truth: Results, theirs: Row, num_packings: int
) -> Iterator[Row | str]:
    for numbers, dtype in (("fp32", torch.float32), ("bf16", BF16)):
        model = load_model(folder, dtype=dtype).model
        assert sum(parameter.numel() for parameter in model.parameters()) == draw.shape.num_parameters
        limits = (2e-6, 1e-5) if numbers == "fp32" else _bf16_limits(draw, theirs)
        packed = for_inference(model)
        for way, encoder in (("the network", model), ("packed for inference", packed)):
            yield _row(f"{numbers}, {way}", _our_results(model, encoder, inputs), truth, limits)
        yield _company(numbers, packed, inputs.sources, num_packings)
        del model, packed, encoder
        gc.collect()


def _bf16_limits(draw: Draw, theirs: Row) -> tuple[float, float]:
    """A hundredth, or where rounding the weights takes more, transformers' own distance."""
    if draw.bf16_limit is not None:
        return draw.bf16_limit, draw.bf16_limit
    assert theirs.logits is not None
    return theirs.layers, theirs.logits


@torch.inference_mode()
def _our_results(model: Ankh, encoder: Encoder, inputs: Inputs) -> Results:
    """All proteins packed into one batch."""
    sources = Documents.of_lengths([len(source) for source in inputs.sources])
    targets = Documents.of_lengths([len(target) for target in inputs.targets])
    num_layers = model.config.num_encoder_layers
    encoded = encoder.encode(torch.cat(inputs.sources), sources, range(num_layers + 1))
    logits_TV = model.decode(torch.cat(inputs.targets), targets, encoded.last_TD, sources)
    states = [[encoded.states[layer][start:end] for layer in range(num_layers + 1)] for start, end in sources]
    return Results(states, [logits_TV[start:end] for start, end in targets])


@torch.inference_mode()
def _company(numbers: str, encoder: Encoder, sources: Sequence[Tensor], num_packings: int) -> str:
    """Each protein alone and in random packings, in random order."""
    alone = [encoder.encode(tokens, Documents.of_lengths([len(tokens)])).last_TD for tokens in sources]
    draw, worst = random.Random(0), 0.0
    for _ in range(num_packings):
        chosen = draw.sample(range(len(sources)), draw.randint(2, len(sources)))
        documents = Documents.of_lengths([len(sources[number]) for number in chosen])
        packed_TD = encoder.encode(torch.cat([sources[number] for number in chosen]), documents).last_TD
        pairs = zip(chosen, documents, strict=True)
        worst = max(worst, *(_distance(packed_TD[start:end], alone[number]) for number, (start, end) in pairs))
    limit = COMPANY_LIMITS[numbers]
    verdict = "holds" if worst <= limit else "**exceeded**"
    return (
        f"company, {numbers}: at most {worst:.1e} between a protein alone and in one of {num_packings} random packings "
        f"(limit {limit:.0e}, {verdict})"
    )


def _row(what: str, found: Results, truth: Results, limits: tuple[float, float] | None = None) -> Row:
    by_layer = [
        max(_distance(ours[layer], exact[layer]) for ours, exact in zip(found.states, truth.states, strict=True))
        for layer in range(len(truth.states[0]))
    ]
    pairs = zip(found.logits, truth.logits, strict=bool(truth.logits))
    logits = max((_distance(ours, exact) for ours, exact in pairs), default=None)
    return Row(what, max(by_layer), by_layer.index(max(by_layer)), by_layer[-1], logits, limits)


def _distance(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact.double()).norm() / exact.double().norm())
