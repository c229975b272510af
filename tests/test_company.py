"""A protein's numbers do not depend on its company: alone or packed with others, in any order, it gives the same."""

import copy
import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hugging_face_models import PUBLISHED_SHAPES, miniature
from openankh.attention import Documents
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.vocab import ANKH, EOS
from test_model import relative_error

LENGTHS = (1, 2, 2, 15, 16, 17, 31, 40, 63, 64, 65, 100, 128, 129, 200, 255, 256, 257, 300, 511, 512, 513)
NUM_PACKINGS = 40
LIMITS = {torch.float32: 1e-6, torch.bfloat16: 5e-3}


def draw_proteins() -> list[str]:
    source = random.Random(0)
    return ["".join(source.choices("ALGVSREDTIPKFQNYMHWC", k=length)) for length in LENGTHS]


PROTEINS = draw_proteins()
TOKENS = [torch.tensor([*ANKH.encode(protein), EOS]) for protein in PROTEINS]


@pytest.fixture(scope="module")
def model() -> Ankh:
    """Ankh base in miniature."""
    model = Ankh(miniature(PUBLISHED_SHAPES["ankh-base"])).eval()
    initialise(model, ANKH, "published", seed=0)
    return model


def encoder_of(model: Ankh, way: str, dtype: torch.dtype) -> Encoder:
    narrow = model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)
    return for_inference(narrow) if way == "packed" else narrow


def last_states(encoder: Encoder, tokens: Sequence[Tensor]) -> list[Tensor]:
    """Of each protein, all encoded in one batch."""
    documents = Documents.of_lengths([len(each) for each in tokens])
    with torch.inference_mode():
        last_TD = encoder.encode(torch.cat(list(tokens)), documents).last_TD
    return [last_TD[start:end] for start, end in documents]


def random_packings(largest: int) -> list[list[int]]:
    """Numbers of proteins in random order, each packing of a random size; proteins may come twice."""
    source = random.Random(1)
    return [source.choices(range(len(PROTEINS)), k=source.randint(2, largest)) for _ in range(NUM_PACKINGS)]


@pytest.mark.parametrize("dtype", LIMITS, ids=["fp32", "bf16"])
@pytest.mark.parametrize("way", ["plain", "packed"])
def test_a_protein_is_the_same_alone_and_in_any_random_packing(model: Ankh, way: str, dtype: torch.dtype) -> None:
    encoder = encoder_of(model, way, dtype)
    alone = [last_states(encoder, [tokens])[0] for tokens in TOKENS]
    for packing in random_packings(largest=8):
        for number, states in zip(packing, last_states(encoder, [TOKENS[each] for each in packing]), strict=True):
            assert relative_error(states, alone[number]) < LIMITS[dtype], (packing, number)


def test_a_protein_is_the_same_alone_and_packed_with_another_number_of_threads(model: Ankh) -> None:
    encoder = for_inference(model)
    alone = [last_states(encoder, [tokens])[0] for tokens in TOKENS]
    torch.set_num_threads(2)
    for number, states in enumerate(last_states(encoder, TOKENS)):
        assert relative_error(states, alone[number]) < LIMITS[torch.float32]


@pytest.mark.parametrize("max_tokens", [300, 2000, 100_000])
def test_records_in_any_order_and_batches_of_any_size_give_the_same_rows(model: Ankh, max_tokens: int) -> None:
    records = [Record(str(number), "", protein, number) for number, protein in enumerate(PROTEINS)]
    encoder = for_inference(model)
    one_by_one = Embedder(model, ANKH, EmbedOptions(pool="residues", max_tokens=1), encoder)
    alone = {record.id: rows for each in records for record, rows in one_by_one.embed([each])}
    embedder = Embedder(model, ANKH, EmbedOptions(pool="residues", max_tokens=max_tokens), encoder)
    shuffled = random.Random(max_tokens).sample(records, len(records))
    for record, rows in embedder.embed(shuffled):
        assert len(rows) == len(record.sequence)
        assert relative_error(torch.from_numpy(rows), torch.from_numpy(alone[record.id])) < LIMITS[torch.float32]
