"""Every published shape, in miniature: written by transformers, loaded by us, equal at every layer and in the logits.

Beside them: one row a residue for every length, and bf16 near fp32.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from hugging_face_models import PUBLISHED_SHAPES, draw_oracle, miniature, save_oracle, vocab_of
from openankh.attention import Documents
from openankh.checkpoint import load_model
from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.published import published_model
from openankh.vocab import EOS, PAD, Vocab
from test_model import relative_error

LENGTHS = (1, 2, 63, 64, 65, 129, 512, 1500)
BF16 = torch.bfloat16


@dataclass(frozen=True)
class Results:
    """States of all proteins end to end, by layer, and the decoder's logits, end to end as well."""

    states: Sequence[Tensor]
    logits: Tensor


@dataclass(frozen=True)
class Case:
    """A model folder that transformers wrote, proteins and targets, and what transformers makes of them."""

    folder: Path
    shape: ModelConfig
    vocab: Vocab
    proteins: tuple[Record, ...]
    sources: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    truth: Results
    truth_in_bf16: Results

    def results_of(self, model: Ankh, encoder: Encoder) -> Results:
        """What we make of them, all packed together."""
        sources, targets = documents(self.sources), documents(self.targets)
        with torch.inference_mode():
            encoded = encoder.encode(torch.cat(self.sources), sources, range(self.shape.num_encoder_layers + 1))
            logits = model.decode(torch.cat(self.targets), targets, encoded.last_TD, sources)
        return Results([encoded.states[layer] for layer in sorted(encoded.states)], logits)


def documents(proteins: Iterable[Tensor]) -> Documents:
    return Documents.of_lengths([len(tokens) for tokens in proteins])


def draw_protein(length: int, vocab: Vocab) -> Record:
    generator = torch.Generator().manual_seed(length)
    ids = vocab.standard_ids[torch.randint(0, 20, (length,), generator=generator).numpy()]
    return Record(f"of_{length}", "", vocab.decode(ids), length)


def draw_target(length: int, vocab: Vocab) -> Tensor:
    """`<pad>`, then any pieces: the sentinels of the vocabulary among them."""
    generator = torch.Generator().manual_seed(1000 + length)
    pieces = torch.randint(EOS + 1, vocab.size, (min(length, 150),), generator=generator)
    return torch.cat([torch.tensor([PAD]), pieces])


@torch.inference_mode()
def results_of_oracle(oracle: T5ForConditionalGeneration, sources: Sequence[Tensor], targets: Sequence[Tensor]):
    outputs = [
        oracle(input_ids=source[None], decoder_input_ids=target[None], output_hidden_states=True)
        for source, target in zip(sources, targets, strict=True)
    ]
    layers = zip(*(output.encoder_hidden_states for output in outputs), strict=True)
    states = [torch.cat([state[0] for state in layer]) for layer in layers]
    return Results(states, torch.cat([output.logits[0] for output in outputs]))


@pytest.fixture(scope="module", params=PUBLISHED_SHAPES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One published shape in miniature; random weights of its own."""
    shape = miniature(PUBLISHED_SHAPES[request.param])
    oracle = draw_oracle(shape, seed=list(PUBLISHED_SHAPES).index(request.param))
    vocab, folder = vocab_of(shape), tmp_path_factory.mktemp(request.param)
    save_oracle(oracle, vocab, folder)
    proteins = tuple(draw_protein(length, vocab) for length in LENGTHS)
    prefix = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
    sources = tuple(torch.tensor([*prefix, *vocab.encode(protein.sequence), EOS]) for protein in proteins)
    targets = tuple(draw_target(length, vocab) for length in LENGTHS)
    truth = results_of_oracle(oracle, sources, targets)
    in_bf16 = results_of_oracle(oracle.bfloat16(), sources, targets)  # pyright: ignore[reportCallIssue]
    return Case(folder, shape, vocab, proteins, sources, targets, truth, in_bf16)


def worst_protein(ours: Tensor, truth: Tensor, proteins: Documents) -> float:
    return max(relative_error(ours[start:end], truth[start:end]) for start, end in proteins)


def encoder_of(model: Ankh, way: str) -> Encoder:
    return for_inference(model) if way == "packed" else model


@pytest.mark.parametrize("way", ["plain", "packed"])
def test_every_layer_and_the_logits_equal_those_of_transformers(case: Case, way: str) -> None:
    model = load_model(case.folder).model
    assert model.config == case.shape
    ours = case.results_of(model, encoder_of(model, way))
    for layer, (state, truth) in enumerate(zip(ours.states, case.truth.states, strict=True)):
        assert worst_protein(state, truth, documents(case.sources)) < 2e-6, f"layer {layer}"
    assert worst_protein(ours.logits, case.truth.logits, documents(case.targets)) < 1e-5


@pytest.mark.parametrize("way", ["plain", "packed"])
def test_two_threads_give_the_same(case: Case, way: str) -> None:
    torch.set_num_threads(2)
    encoder = encoder_of(load_model(case.folder, part="encoder").model, way)
    proteins = documents(case.sources[:-1])
    with torch.inference_mode():
        last_TD = encoder.encode(torch.cat(case.sources[:-1]), proteins).last_TD
    assert worst_protein(last_TD, case.truth.states[-1], proteins) < 2e-6


@pytest.mark.parametrize("way", ["plain", "packed"])
def test_bfloat16_is_within_a_hundredth_of_float32_and_nearer_than_that_of_transformers(case: Case, way: str) -> None:
    model = load_model(case.folder, dtype=BF16).model
    ours = case.results_of(model, encoder_of(model, way))
    for state, truth, theirs in zip(ours.states[1:], case.truth.states[1:], case.truth_in_bf16.states[1:], strict=True):
        assert state.dtype == BF16
        assert relative_error(state, truth) < min(1e-2, relative_error(theirs, truth))
    assert relative_error(ours.logits, case.truth.logits) < 1e-2


def test_a_protein_of_any_length_has_exactly_one_row_a_residue(case: Case) -> None:
    checkpoint = load_model(case.folder, part="encoder")
    assert checkpoint.vocab == case.vocab
    embedder = Embedder(checkpoint.model, checkpoint.vocab, EmbedOptions(pool="residues"))
    first = 1 if case.vocab.has_prefix("[NLU]") else 0
    starts = [start + first for start, _ in documents(case.sources)]
    for (record, rows), start in zip(embedder.embed(case.proteins), starts, strict=True):
        length = len(record.sequence)
        assert rows.shape == (length, case.shape.d_model)
        assert relative_error(torch.from_numpy(rows), case.truth.states[-1][start : start + length]) < 2e-6


@pytest.mark.parametrize("name", PUBLISHED_SHAPES)
def test_published_shapes_have_the_published_number_of_parameters(name: str) -> None:
    shape, model = PUBLISHED_SHAPES[name], published_model(name)
    assert model is not None
    if model.num_parameters is not None:
        assert (shape.num_parameters, shape.num_encoder_parameters) == (
            model.num_parameters,
            model.num_encoder_parameters,
        )
