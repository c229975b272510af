"""Computing in fp16: what overflows is computed again in fp32, counted, and nothing that is no number is ever given."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from embedding_models import MIXED, MODELS, VOCABS, proteins, relative_error, tiny_model
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.store import POOLS, STATES, Dtype, Pool, States

VOCAB = VOCABS["ankh"]


def overflowing_model(letter: str = "W") -> Ankh:
    """A model in which a protein with this residue reaches numbers beyond 65,504 in the middle, and no other does."""
    model: Any = tiny_model(VOCAB)
    with torch.no_grad():
        loud = VOCAB.encode(letter)[0]
        # One dimension, zero for all other residues, is made large, and taken out of what the layers make of it.
        model.shared.weight[:, 0] = 0
        model.shared.weight[loud, 0] = 300
        for block in (*model.encoder.blocks, *model.decoder.blocks):
            for name, weight in block.named_parameters():
                if name.endswith(("o.weight", "wo.weight")):
                    weight[0] = 0
        first = model.encoder.blocks[0].feed_forward
        first.DenseReluDense.wi_0.weight[0] = 0
        first.DenseReluDense.wi_1.weight[0] = 0
        first.DenseReluDense.wi_0.weight[0, 0] = 80
        first.DenseReluDense.wi_1.weight[0, 0] = 80
        first.DenseReluDense.wo.weight[0, 0] = 5
    return model


def embedded(model: Ankh, options: EmbedOptions) -> tuple[list[np.ndarray], Embedder]:
    embedder = Embedder(model, VOCAB, options)
    return [array for _, array in embedder.embed(MIXED)], embedder


LOUD = [number for number, record in enumerate(MIXED) if "W" in record.sequence]


def test_some_of_the_samples_overflow_and_some_do_not() -> None:
    assert 0 < len(LOUD) < len(MIXED)
    model = overflowing_model()
    with torch.inference_mode():
        half = Embedder(copy.deepcopy(model).half(), VOCAB, EmbedOptions(pool="residues"))
        half._vectors.guards_fp16 = False
        for number, record in enumerate(MIXED):
            layers = half._vectors.states.of([record])
            assert bool(torch.isfinite(layers[0]).all()) == (number not in LOUD)


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("pool", POOLS)
def test_what_overflows_is_computed_again_in_fp32_and_counted(states: States, pool: Pool) -> None:
    model = overflowing_model()
    exact, _ = embedded(model, EmbedOptions(pool, states=states))
    found, embedder = embedded(model, EmbedOptions(pool, states=states, precision="fp16"))
    assert embedder.precision == "fp16" and embedder.dtype == "fp16"
    assert embedder.num_overflowed == len(LOUD)
    for array, expected in zip(found, exact, strict=True):
        assert array.dtype == np.float16 and np.isfinite(array).all()
        assert relative_error(array.astype(np.float32), expected) <= 5e-3


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_numbers_beyond_fp16_are_given_where_the_results_can_hold_them_and_refused_where_not(dtype: Dtype) -> None:
    model = overflowing_model()
    found, _ = embedded(model, EmbedOptions("max", layer=1, precision="fp16", dtype=dtype))
    exact, _ = embedded(model, EmbedOptions("max", layer=1))
    for array, expected in zip(found, exact, strict=True):
        assert relative_error(array, expected) <= 1e-2
    assert max(float(np.abs(array).max()) for array in found) > 65_504
    name = MIXED[LOUD[0]].id
    with pytest.raises(
        UserError, match=rf"record '{name}' \(line \d+\): layer 1 reaches [\d,]+, and fp16 ends at 65,504"
    ):
        embedded(model, EmbedOptions("max", layer=(0, 1), dtype="fp16"))


def test_the_guard_serves_models_that_were_loaded_in_fp16_and_keeps_their_weights() -> None:
    model = overflowing_model().half()
    found, embedder = embedded(model, EmbedOptions())
    assert embedder.precision == "fp16" and embedder.num_overflowed == len(LOUD)
    assert all(np.isfinite(array).all() for array in found)
    assert {weight.dtype for weight in model.parameters()} == {torch.float16}


def test_a_model_whose_numbers_are_none_in_fp32_either_is_refused() -> None:
    model = tiny_model(VOCAB)
    model.encoder.final_layer_norm.weight.data[3] = torch.nan
    with pytest.raises(
        UserError, match=r"record 'P0' \(line 1\): the model's numbers are not finite in layer 3; check"
    ):
        embedded(model, EmbedOptions(precision="fp16"))


def test_of_ten_thousand_random_proteins_none_gives_a_number_that_is_none() -> None:
    generator = np.random.default_rng(1)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWYX"))
    lengths = generator.integers(1, 9, 10_000)
    records = [
        type(MIXED[0])(str(number), "", "".join(letters[generator.integers(0, 21, length)]), number)
        for number, length in enumerate(lengths)
    ]
    embedder = Embedder(overflowing_model(), VOCAB, EmbedOptions(precision="fp16", max_tokens=20_000))
    num_loud = len({record.sequence for record in records if "W" in record.sequence})
    count = 0
    for record, array in embedder.embed(records):
        assert np.isfinite(array).all(), record
        count += 1
    assert count == 10_000 and embedder.num_overflowed == num_loud > 500


def test_a_precision_that_holds_the_numbers_computes_nothing_twice() -> None:
    for precision in ("fp32", "bf16"):
        _, embedder = embedded(overflowing_model(), EmbedOptions(precision=precision, dtype="fp32"))
        assert embedder.num_overflowed == 0
    _, embedder = embedded(MODELS["ankh"], EmbedOptions(precision="fp16"))
    assert embedder.num_overflowed == 0
    assert proteins([3])
