"""The decoder step by step: equal to decoding at once, in any company, and where it is exact in every bit."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from generation_samples import decoder_of, draw_inputs, small_model
from openankh.attention import Documents
from openankh.decoding import Decoder, for_decoding
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.packed import Packed
from test_model import SHAPES, build_pair, draw_tokens, relative_error

SOURCES, STEPS = [5, 33, 1, 200, 33], 140
WAYS = ["fastest", "torch"]


def memory_of(model: Ankh) -> tuple[torch.Tensor, Documents]:
    documents = Documents.of_lengths(SOURCES)
    with torch.inference_mode():
        return model.encode(draw_tokens(SOURCES, 1), documents).last_TD, documents


def logits_by_step(decoder: Decoder, model: Ankh, targets: np.ndarray, numbers: list[int], chunk: int) -> np.ndarray:
    sources = decoder.read(*memory_of(model))
    decoding = decoder.begin(1)
    decoding.add([sources[number] for number in numbers], [targets.shape[1]] * len(numbers))
    steps = range(0, targets.shape[1], chunk)
    return np.stack([decoding.step(targets[numbers, None, at : at + chunk])[:, 0] for at in steps], axis=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_and_forced_targets_give_the_logits_of_decoding_at_once(shape: str, way: str) -> None:
    model, _ = build_pair(SHAPES[shape])
    memory, documents = memory_of(model)
    targets = draw_tokens([STEPS] * len(SOURCES), 3).reshape(len(SOURCES), STEPS)
    together = Documents.of_lengths([STEPS] * len(SOURCES))
    with torch.inference_mode():
        at_once = model.decode(targets.flatten(), together, memory, documents).unflatten(0, targets.shape)
    decoder, numbers = decoder_of(model, way), list(range(len(SOURCES)))
    by_step = logits_by_step(decoder, model, targets.numpy(), numbers, 1)
    by_twos = logits_by_step(decoder, model, targets.numpy(), numbers, 2)
    forced = decoder.force(decoder.read(memory, documents), targets.flatten().numpy(), together)
    assert relative_error(torch.from_numpy(by_step), at_once) < 2e-6
    assert relative_error(torch.from_numpy(by_twos), at_once[:, 1::2]) < 2e-6
    assert relative_error(forced.unflatten(0, targets.shape), at_once) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_company_changes_no_bit(dtype: torch.dtype) -> None:
    model = copy.deepcopy(small_model("ankh")).to(dtype)
    decoder = for_decoding(model)
    if not decoder.is_exact:
        pytest.skip("the C kernels are not here")
    targets = draw_tokens([20] * len(SOURCES), 3).reshape(len(SOURCES), 20).numpy()
    together = logits_by_step(decoder, model, targets, [4, 0, 1, 3, 2], 1)
    for place, number in enumerate([4, 0, 1, 3, 2]):
        assert np.array_equal(logits_by_step(decoder, model, targets, [number], 1)[0], together[place])


@pytest.mark.parametrize("way", WAYS)
def test_proteins_come_and_go_while_others_are_at_work(way: str) -> None:
    model = small_model("ankh")
    decoder = decoder_of(model, way)
    targets = draw_tokens([20] * len(SOURCES), 3).reshape(len(SOURCES), 20).numpy()
    alone = logits_by_step(decoder, model, targets, list(range(len(SOURCES))), 1)
    sources = decoder.read(*memory_of(model))
    decoding, places, found = decoder.begin(1), dict[int, int](), []
    for numbers, staying in (([0, 3], [0, 3]), ([1], [3, 1]), ([2, 4], [2, 1, 4]), ([], [4, 1])):
        decoding.add([sources[number] for number in numbers], [20] * len(numbers))
        places |= dict.fromkeys(numbers, 0)
        for _ in range(3):
            logits = decoding.step(np.stack([targets[number, None, at : at + 1] for number, at in places.items()]))
            found += [(number, at, logits[row, 0]) for row, (number, at) in enumerate(places.items())]
            places = {number: at + 1 for number, at in places.items()}
        decoding.keep([list(places).index(number) for number in staying])
        places = {number: places[number] for number in staying}
    for number, at, logits in found:
        assert np.allclose(logits, alone[number, at], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_change_places_go_on_from_what_the_others_wrote(way: str) -> None:
    model, source = small_model("openankh"), np.random.default_rng(0)
    decoder = decoder_of(model, way)
    memory, documents = memory_of(model)
    decoding = decoder.begin(3)
    decoding.add(decoder.read(memory, documents)[:2], [12, 14])
    written = np.zeros((2, 3, 0), np.int64)
    for length in range(1, 13):
        tokens = source.integers(3, 140, (2, 3, 1))
        written = np.concatenate([written, tokens], axis=2)
        logits = decoding.step(tokens)
        with torch.inference_mode():
            pairs = [(memory[start:end], rows) for (start, end), rows in zip(documents, written, strict=False)]
            sources = Documents.of_lengths([len(states) for states, _ in pairs for _ in range(3)])
            states = torch.cat([states for states, _ in pairs for _ in range(3)])
            targets = Documents.of_lengths([length] * 6)
            truth = model.decode(torch.from_numpy(written.reshape(-1)), targets, states, sources)
        assert relative_error(torch.from_numpy(logits), truth.view(2, 3, length, -1)[:, :, -1]) < 1e-5
        parents = source.integers(0, 3, (2, 3))
        decoding.reorder(parents)
        written = np.take_along_axis(written, parents[:, :, None], axis=1)


def test_targets_of_other_proteins_change_no_bit_of_forced_logits() -> None:
    model = small_model("openankh")
    decoder = for_decoding(model)
    if not decoder.is_exact:
        pytest.skip("the C kernels are not here")
    sources = decoder.read(*memory_of(model))
    targets = draw_inputs(len(SOURCES), longest=40)
    packed = Packed.join(targets)
    together = decoder.force(sources, packed.ids, Documents(tuple(packed.offsets.tolist())))
    for source, target, logits in zip(sources, targets, together.split(packed.lengths.tolist()), strict=True):
        assert torch.equal(decoder.force([source], target, Documents((0, len(target)))), logits)


def test_two_threads_give_the_bits_of_one() -> None:
    model = small_model("openankh")
    decoder = for_decoding(model)
    targets = draw_tokens([20] * len(SOURCES), 3).reshape(len(SOURCES), 20).numpy()
    one = logits_by_step(decoder, model, targets, [0, 1, 2, 3, 4], 1)
    torch.set_num_threads(2)
    assert np.array_equal(logits_by_step(decoder, model, targets, [0, 1, 2, 3, 4], 1), one) or not decoder.is_exact


def test_an_encoder_alone_is_told_to_write_nothing() -> None:
    with pytest.raises(UserError, match="no decoder"):
        for_decoding(Ankh(replace(small_model("ankh").config, num_decoder_layers=0)))
