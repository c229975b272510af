"""Greedy and beam search equal those of transformers' `generate`, token for token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openankh
from generation_samples import draw_inputs, draw_records, free_script, reader_of
from hugging_face_models import quiet_transformers
from openankh.generation.job import Job, Written
from openankh.generation.method import Method
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.writer import write
from openankh.published import BUNDLED
from openankh.vocab import EOS, PAD
from test_model import SHAPES, build_pair

transformers = pytest.importorskip("transformers")

NUM_TOKENS = 40
SEARCHES: dict[str, tuple[Method, dict[str, Any]]] = {
    "greedy": (Method(), {}),
    "beam 10": (Method("beam"), {"num_beams": 10}),
    "beam 30": (Method("beam", num_beams=30), {"num_beams": 30}),
    "beam, stopping early": (Method("beam", num_beams=4, stop_early=True), {"num_beams": 4, "early_stopping": True}),
    "beam, short ones preferred": (
        Method("beam", num_beams=5, length_penalty=-1.0),
        {"num_beams": 5, "length_penalty": -1.0},
    ),
}


def their_tokens(oracle: Any, inputs: np.ndarray, **settings: Any) -> list[list[int]]:
    """What transformers writes for one input, `</s>` and what follows it left out."""
    with quiet_transformers():
        rows = oracle.generate(
            torch.tensor(inputs)[None],
            do_sample=False,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=PAD,
            **settings,
        )
    texts = [row[1:].tolist() for row in rows]
    return [text[: text.index(EOS)] if EOS in text else text for text in texts]


@pytest.mark.parametrize("way", ["fastest", "torch"])
@pytest.mark.parametrize("search", SEARCHES)
def test_random_networks_write_what_transformers_writes(search: str, way: str) -> None:
    model, oracle = build_pair(SHAPES["ankh2 and ankh3, gated silu"])
    method, settings = SEARCHES[search]
    num = method.num_beams if method.has_beams else 1
    inputs = draw_inputs(8 if num < 30 else 3)
    script = free_script(NUM_TOKENS, model.config.vocab_size)
    found = list(write(reader_of(model, way), [Job(ids, script, num) for ids in inputs], method))
    if search in ("greedy", "beam, short ones preferred"):
        assert {written.ended for results in found for written in results} == {True, False}
    for ids, results in zip(inputs, found, strict=True):
        texts = their_tokens(oracle, ids, max_new_tokens=NUM_TOKENS, num_return_sequences=num, **settings)
        assert [written.tokens.tolist() for written in results] == texts


@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_network_writes_what_transformers_writes(shape: str) -> None:
    model, oracle = build_pair(SHAPES[shape])
    script = free_script(NUM_TOKENS, model.config.vocab_size)
    inputs = draw_inputs(4)
    for ids, results in zip(
        inputs, write(reader_of(model), [Job(ids, script) for ids in inputs], Method()), strict=True
    ):
        assert [results[0].tokens.tolist()] == their_tokens(oracle, ids, max_new_tokens=NUM_TOKENS)


@pytest.fixture(scope="module")
def bundled_pair() -> tuple[openankh.LoadedModel, Any]:
    """The bundled model and transformers' of the same weights, both in fp32."""
    try:
        model = openankh.load(BUNDLED, dtype="fp32")
    except openankh.UserError:
        pytest.skip("the bundled model is not in this checkout")
    with quiet_transformers():
        oracle = transformers.T5ForConditionalGeneration.from_pretrained(Path(model.folder), dtype=torch.float32)
    return model, oracle.eval()


@pytest.mark.parametrize(
    ("method", "settings", "num_prompts"),
    [("greedy", {}, 24), ("beam", {"num_beams": 10, "length_penalty": 1.0}, 6)],
)
def test_the_bundled_model_completes_as_transformers_does(
    bundled_pair: tuple[openankh.LoadedModel, Any], method: str, settings: dict[str, Any], num_prompts: int
) -> None:
    model, oracle = bundled_pair
    records = draw_records(num_prompts, shortest=20, longest=80)
    others = sorted(set(range(model.model.config.vocab_size)) - set(standard_ids(model)) - {EOS})
    found = list(model.complete(records, keep=0.5, method=method))  # type: ignore[arg-type]  # pyright: ignore
    for completion in found:
        prompt = model.vocab.encode(completion.record.sequence[: completion.kept])
        ids = np.array([model.vocab.prefix_id("[S2S]"), *prompt, EOS])
        num_written = len(completion.written)
        (text,) = their_tokens(
            oracle, ids, max_new_tokens=num_written, min_new_tokens=num_written, suppress_tokens=others, **settings
        )
        assert model.vocab.decode(text) == completion.written


def standard_ids(model: openankh.LoadedModel) -> list[int]:
    return model.vocab.encode(ResidueRules().letters).tolist()


def test_log_probabilities_are_those_of_transformers(bundled_pair: tuple[openankh.LoadedModel, Any]) -> None:
    model, oracle = bundled_pair
    (found,) = model.complete(draw_records(1, shortest=60), keep=0.5, method="sample", temperature=1.5, seed=3)
    prompt, written = (model.vocab.encode(part) for part in (found.sequence[: found.kept], found.written))
    inputs = torch.tensor([[model.vocab.prefix_id("[S2S]"), *prompt.tolist(), EOS]])
    with torch.no_grad():
        logits = oracle(input_ids=inputs, decoder_input_ids=torch.tensor([[PAD, *written.tolist()[:-1]]])).logits[0]
    truth = logits.log_softmax(-1).gather(1, torch.tensor(written.tolist())[:, None])[:, 0]
    assert np.allclose(found.log_probs, truth, atol=1e-4)


def test_results_of_a_search_are_sorted_and_different() -> None:
    model, _ = build_pair(SHAPES["ankh, gated gelu"])
    script = free_script(NUM_TOKENS, model.config.vocab_size)
    results: list[Written] = next(write(reader_of(model), [Job(draw_inputs(1)[0], script, 10)], Method("beam")))
    assert [written.score for written in results] == sorted((written.score for written in results), reverse=True)
    assert len({tuple(written.tokens.tolist()) for written in results}) == 10
