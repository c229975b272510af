"""Embedding: exactly the residues' rows, in order, whatever the company, the budget or the memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_models import (
    MIXED,
    MODELS,
    NUM_DECODER_LAYERS,
    NUM_LAYERS,
    VOCABS,
    one_layer_model,
    proteins,
    relative_error,
    tiny_model,
)
from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions, parse_layers
from openankh.embedding.survey import InputDigest, RepeatFinder, survey
from openankh.embedding.tokens import decoder_tokens, packed_tokens
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.fused_linear import onednn_serves
from openankh.inference import for_inference
from openankh.store import POOLS, STATES, Pool, States
from openankh.vocab import EOS, PAD


@pytest.mark.parametrize("vocab", VOCABS)
@pytest.mark.parametrize("pool", POOLS)
def test_a_protein_of_L_residues_gives_L_rows_in_input_order(vocab: str, pool: Pool) -> None:
    embedder = Embedder(MODELS[vocab], VOCABS[vocab], EmbedOptions(pool=pool, max_tokens=100))
    pairs = list(embedder.embed(MIXED))
    assert [record for record, _ in pairs] == MIXED
    for record, array in pairs:
        assert array.shape == ((len(record.sequence), 24) if pool == "residues" else (24,))
        assert array.dtype == np.float32


@pytest.mark.parametrize("vocab", VOCABS)
def test_the_rows_are_those_of_the_residues_without_prefix_and_end(vocab: str) -> None:
    record = proteins([11])[0]
    model, alphabet = MODELS[vocab], VOCABS[vocab]
    ids = [*alphabet.encode(record.sequence).tolist(), EOS]
    if vocab == "openankh":
        ids = [alphabet.prefix_id("[NLU]"), *ids]
    from openankh.attention import Documents

    with torch.inference_mode():
        rows = model.encode(torch.tensor(ids), Documents.of_lengths([len(ids)])).last_TD.numpy()
    ((_, found),) = Embedder(model, alphabet, EmbedOptions(pool="residues")).embed([record])
    np.testing.assert_allclose(found, rows[len(ids) - 12 : -1], atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("max_tokens", [1, 3, 50, 100, 10_000])
def test_company_and_budget_never_change_a_result(pool: Pool, max_tokens: int) -> None:
    alone = Embedder(MODELS["openankh"], VOCABS["openankh"], EmbedOptions(pool=pool))
    together = Embedder(MODELS["openankh"], VOCABS["openankh"], EmbedOptions(pool=pool, max_tokens=max_tokens))
    for record, array in together.embed(MIXED):
        ((_, expected),) = alone.embed([record])
        assert relative_error(array, expected) <= 1e-6


@pytest.mark.skipif(not onednn_serves(torch.float32), reason="promised where oneDNN's kernels run alone")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [24, 768])
def test_where_onednn_runs_company_and_budget_do_not_change_a_single_bit(dtype: torch.dtype, width: int) -> None:
    """What lets a continued run, a run by many workers and one that ran out of memory write the same bytes."""
    if not onednn_serves(dtype):
        pytest.skip(f"oneDNN does not serve {dtype} on this processor")
    model = one_layer_model(width).to(dtype)
    records = proteins([510, 3, 77, 511, 1, 1022, 512, 16, 300, 2], seed=5)  # with </s> also 1 beyond whole pieces
    encoder = for_inference(model)
    pairs = Embedder(model, VOCABS["ankh"], EmbedOptions("residues", max_tokens=1), encoder).embed(records)
    alone = {record.id: array for record, array in pairs}
    for max_tokens in (600, 1500, 4096):
        for order in (records, records[::-1]):
            together = Embedder(model, VOCABS["ankh"], EmbedOptions("residues", max_tokens=max_tokens), encoder)
            for record, array in together.embed(order):
                np.testing.assert_array_equal(array, alone[record.id], err_msg=f"{record.id} {max_tokens}")


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_pooling_is_over_the_residue_rows_alone(pool: Pool) -> None:
    vocab = VOCABS["openankh"]
    rows = dict(Embedder(MODELS["openankh"], vocab, EmbedOptions(pool="residues")).embed(MIXED))
    for record, array in Embedder(MODELS["openankh"], vocab, EmbedOptions(pool=pool)).embed(MIXED):
        expected = rows[record].mean(0) if pool == "mean" else rows[record].max(0)
        np.testing.assert_allclose(array, expected, atol=1e-6)


def hidden_states(record: Record) -> dict[States, list[np.ndarray]]:
    """What transformers makes of a protein: the states of every layer, without the rows of `</s>` and `<pad>`."""
    transformers = pytest.importorskip("transformers")
    vocab, model = VOCABS["ankh"], MODELS["ankh"]
    oracle = transformers.T5Model(transformers.T5Config(**model.config.to_hf())).eval()
    state = model.state_dict()
    tied = {f"{stack}.embed_tokens.weight": state["shared.weight"] for stack in ("encoder", "decoder")}
    oracle.load_state_dict({**{name: state[name] for name in state if name != "lm_head.weight"}, **tied})
    ids = vocab.encode(record.sequence).tolist()
    with torch.inference_mode():
        output = oracle(
            input_ids=torch.tensor([[*ids, EOS]]),
            decoder_input_ids=torch.tensor([[PAD, *ids]]),
            output_hidden_states=True,
        )
    return {
        "encoder": [states[0, :-1].numpy() for states in output.encoder_hidden_states],
        "decoder": [states[0, 1:].numpy() for states in output.decoder_hidden_states],
    }


LAST: dict[States, int] = {"encoder": NUM_LAYERS, "decoder": NUM_DECODER_LAYERS}


@pytest.mark.parametrize("states", STATES)
def test_layers_are_numbered_as_hidden_states_of_transformers(states: States) -> None:
    record = proteins([40])[0]
    expected = hidden_states(record)[states]
    assert len(expected) == LAST[states] + 1
    for layer in range(-LAST[states] - 1, LAST[states] + 1):
        options = EmbedOptions(pool="residues", layer=layer, states=states)
        ((_, found),) = Embedder(MODELS["ankh"], VOCABS["ankh"], options).embed([record])
        assert found.shape == (40, 24)
        assert relative_error(found, expected[layer]) <= 2e-6


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("layer", ["all", (2, 0), [-1, 1]])
def test_several_layers_come_in_one_array_in_the_order_asked_for(states: States, pool: Pool, layer: Any) -> None:
    model, vocab = MODELS["openankh"], VOCABS["openankh"]
    several = Embedder(model, vocab, EmbedOptions(pool, layer, states=states))
    last = LAST[states]
    named = range(last + 1) if layer == "all" else layer
    assert several.layers == tuple(number % (last + 1) for number in named)
    ones = [Embedder(model, vocab, EmbedOptions(pool, number, states=states)).embed(MIXED) for number in named]
    for (record, array), *alone in zip(several.embed(MIXED), *ones, strict=True):
        rows = (len(record.sequence),) if pool == "residues" else ()
        assert array.shape == (len(several.layers), *rows, 24) and array.flags.c_contiguous
        np.testing.assert_array_equal(array, np.stack([one for _, one in alone]))


def test_no_layer_beyond_the_highest_asked_for_is_run() -> None:
    model = tiny_model(VOCABS["ankh"])
    exact = dict(Embedder(model, VOCABS["ankh"], EmbedOptions(layer=(0, 2))).embed(MIXED))
    model.encoder.blocks[2].own.SelfAttention.o.weight.data.fill_(torch.nan)
    model.encoder.final_layer_norm.weight.data.fill_(torch.nan)
    for record, array in Embedder(model, VOCABS["ankh"], EmbedOptions(layer=(0, 2))).embed(MIXED):
        np.testing.assert_array_equal(array, exact[record])
    with pytest.raises(UserError, match=r"record 'P0' \(line 1\): the model's numbers are not finite in layer 3"):
        list(Embedder(model, VOCABS["ankh"]).embed(MIXED))


def test_the_decoder_knows_residues_that_come_later_through_the_encoder_alone() -> None:
    """Row i of the decoder's input is residue i: behind a decoder of one residue nothing of the next one is there."""
    model = tiny_model(VOCABS["ankh"])
    for block in model.decoder.blocks:
        block.across.EncDecAttention.o.weight.data.zero_()
    options = EmbedOptions(pool="residues", states="decoder")
    start, longer = proteins([20])[0], proteins([30])[0]
    assert longer.sequence.startswith(start.sequence)
    (_, short), (_, long) = Embedder(model, VOCABS["ankh"], options).embed([start, longer])
    assert relative_error(short, long[:20]) <= 1e-6
    first = Record("first", "", longer.sequence[0], 1)
    ((_, alone),) = Embedder(model, VOCABS["ankh"], options).embed([first])
    assert relative_error(alone, long[:1]) <= 1e-6


def test_a_model_without_a_decoder_has_none_of_its_states() -> None:
    model = tiny_model(VOCABS["ankh"])
    config = ModelConfig(**{**vars(model.config), "num_decoder_layers": 0})
    with pytest.raises(UserError, match="this model has no decoder; use encoder"):
        EmbedOptions(states="decoder").layers_of(config)


@pytest.mark.parametrize("layer", [-5, 4, 100])
def test_a_layer_the_model_lacks_is_refused_with_the_legal_range(layer: int) -> None:
    with pytest.raises(UserError, match=r"layers 0 \(its input\) to 3, or -4 to -1"):
        Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(layer=layer))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pool", "men", "pool 'men': not one of mean, max, residues; did you mean mean"),
        ("dtype", "fp8", "did you mean fp"),
        ("prefix", "nul", "did you mean nlu"),
        ("max_tokens", 0, "max_tokens is 0"),
        ("precision", "fp8", "precision 'fp8': not one of auto, fp32, bf16, fp16, int8; did you mean fp"),
        ("states", "encode", "did you mean encoder"),
        ("layer", "last", "layer 'last': give a number, several in a list, or all"),
        ("layer", (), "layer"),
        ("layer", (1, "2"), "layer"),
        ("layer", True, "layer"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmbedOptions(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [(1, 1), (-1, 3), [0, 2, -4]])
def test_a_layer_named_twice_is_refused(layers: Any) -> None:
    with pytest.raises(UserError, match="named twice"):
        Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(layer=layers))


@pytest.mark.parametrize(
    ("texts", "layer"),
    [
        (["-1"], -1),
        (["24"], 24),
        (["12,24"], (12, 24)),
        (["12", "-1"], (12, -1)),
        (["12, 24", "0"], (12, 24, 0)),
        (["all"], "all"),
    ],
)
def test_layers_are_read_from_text(texts: list[str], layer: Any) -> None:
    assert parse_layers(texts) == layer


@pytest.mark.parametrize("texts", [["last"], ["1,"], ["1;2"], ["all", "1"], ["1.5"], [""]])
def test_text_that_names_no_layer_is_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="give a number, several with commas between them, or all"):
        parse_layers(texts)


def test_none_is_another_word_for_residues() -> None:
    assert EmbedOptions(pool="none") == EmbedOptions(pool="residues")  # type: ignore[arg-type]  # pyright: ignore


def test_the_prefix_is_used_where_the_vocabulary_has_it_and_refused_where_not() -> None:
    def prefix(vocab: str, choice: str) -> str:
        return Embedder(MODELS[vocab], VOCABS[vocab], EmbedOptions(prefix=choice)).prefix  # type: ignore[arg-type]

    assert [prefix("openankh", choice) for choice in ("auto", "nlu", "s2s", "none")] == ["[NLU]", "[NLU]", "[S2S]", ""]
    assert [prefix("ankh", choice) for choice in ("auto", "none")] == ["", ""]
    for choice in ("nlu", "s2s"):
        with pytest.raises(UserError, match="has no"):
            prefix("ankh", choice)


def test_each_prefix_gives_other_numbers_and_as_many_rows() -> None:
    results = []
    for choice in ("nlu", "s2s", "none"):
        options = EmbedOptions(pool="residues", prefix=choice)  # type: ignore[arg-type]
        ((_, array),) = Embedder(MODELS["openankh"], VOCABS["openankh"], options).embed(MIXED[2:3])
        results.append(array)
    assert {array.shape for array in results} == {(70, 24)}
    assert relative_error(results[0], results[1]) > 1e-4 < relative_error(results[0], results[2])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_packed_tokens_are_prefix_residues_and_end_of_each_protein(lengths: list[int], has_prefix: bool) -> None:
    vocab, records = VOCABS["openankh"], proteins(lengths)
    prefix_id = vocab.prefix_id("[NLU]") if has_prefix else None
    tokens, places, offsets = packed_tokens(records, vocab, prefix_id)
    for record, start, end in zip(records, offsets, offsets[1:], strict=False):
        expected = [*([prefix_id] if has_prefix else []), *vocab.encode(record.sequence).tolist(), EOS]
        assert tokens[start:end].tolist() == expected
    assert vocab.decode(tokens[places]) == "".join(record.sequence for record in records)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_decoder_reads_pad_and_the_residues_of_each_protein(lengths: list[int]) -> None:
    vocab, records = VOCABS["openankh"], proteins(lengths)
    tokens, places, offsets = decoder_tokens(records, vocab)
    for record, start, end in zip(records, offsets, offsets[1:], strict=False):
        assert tokens[start:end].tolist() == [PAD, *vocab.encode(record.sequence).tolist()]
    assert vocab.decode(tokens[places]) == "".join(record.sequence for record in records)


def test_records_are_read_only_as_they_are_needed() -> None:
    taken = []

    def endless() -> Iterator[Record]:
        while True:
            taken.append(1)
            yield MIXED[0]

    pairs = Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(max_tokens=60)).embed(endless())
    for _ in range(25):
        next(pairs)
    assert len(taken) < 50


def test_an_error_that_is_not_about_memory_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"])

    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(embedder.encoder, "encode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        list(embedder.embed(MIXED))


def test_bf16_models_give_their_numbers_as_float32_without_loss() -> None:
    model = tiny_model(VOCABS["ankh"]).bfloat16()
    embedder = Embedder(model, VOCABS["ankh"], EmbedOptions(pool="residues"))
    assert embedder.dtype == "bf16"
    exact = Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(pool="residues"))
    for (_, array), (_, expected) in zip(embedder.embed(MIXED), exact.embed(MIXED), strict=True):
        assert array.dtype == np.float32
        assert not (array.view(np.uint32) & 0xFFFF).any()
        assert relative_error(array, expected) < 2e-2


def test_fp16_is_rounded_at_the_end() -> None:
    vocab = VOCABS["ankh"]
    exact = dict(Embedder(MODELS["ankh"], vocab, EmbedOptions()).embed(MIXED))
    for record, array in Embedder(MODELS["ankh"], vocab, EmbedOptions(dtype="fp16")).embed(MIXED):
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, exact[record].astype(np.float16))


def test_a_letter_the_vocabulary_lacks_is_named_with_its_record() -> None:
    records = [*MIXED[:2], Record("bad", "", "MKJ", 7)]
    with pytest.raises(UserError, match=r"record 'bad' \(line 7\): column 3: 'J'"):
        list(Embedder(MODELS["ankh"], VOCABS["ankh"]).embed(records))
    with pytest.raises(UserError, match="record 'none': has no residues"):
        list(Embedder(MODELS["ankh"], VOCABS["ankh"]).embed([Record("none", "", "", 1)]))


def test_the_input_digest_depends_on_ids_sequences_and_order_alone() -> None:
    one = survey(MIXED)
    assert (one.num_records, one.num_residues, one.longest) == (10, 568, 200)
    moved = [Record(record.id, "other words", record.sequence, 99) for record in MIXED]
    digest = InputDigest()
    assert list(digest.passing(moved)) == moved
    assert digest.survey() == one
    assert survey(MIXED[::-1]).sha256 != one.sha256
    assert survey([Record("A", "", "MK", 1)]).sha256 != survey([Record("AM", "", "K", 1)]).sha256


def test_repeats_are_counted_and_named_by_their_hashes() -> None:
    one, other, third = proteins([5, 7, 9])
    found = survey([one, other, one, third, Record("X", "", one.sequence, 9), other]).repeats
    assert found is not None
    assert (found.num_records, found.num_residues) == (3, 5 + 5 + 7)
    assert found.hashes == {hash(one.sequence), hash(other.sequence)}
    assert (nothing := survey(MIXED).repeats) and (nothing.num_records, nothing.hashes) == (0, frozenset())


def test_repeats_are_not_looked_for_among_more_records_than_memory_is_for() -> None:
    finder = RepeatFinder(max_records=3)
    list(finder.passing(MIXED[:3]))
    assert finder.repeats() is not None
    list(finder.passing(MIXED[3:]))
    assert finder.repeats() is None
