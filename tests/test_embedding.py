"""Embedding: exactly the residues' rows, in order, whatever the company, the budget or the memory."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.config import ModelConfig
from openankh.embedding.batches import packed_tokens, token_batches
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.survey import InputDigest, survey
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.store import POOLS, Pool
from openankh.vocab import EOS, Vocab, ankh_vocab, openankh_vocab

VOCABS = {"ankh": ankh_vocab(), "openankh": openankh_vocab()}
NUM_LAYERS = 3


def tiny_model(vocab: Vocab, seed: int = 0) -> Ankh:
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=vocab.size,
        d_model=24,
        d_ff=40,
        d_kv=8,
        num_heads=3,
        num_encoder_layers=NUM_LAYERS,
        num_decoder_layers=0,
    )
    model = Ankh(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "bias" not in name and "shared" not in name:
                weight.mul_(0.5)
    return model


MODELS = {name: tiny_model(vocab) for name, vocab in VOCABS.items()}


def proteins(lengths: list[int], seed: int = 0) -> list[Record]:
    generator = np.random.default_rng(seed)
    letters = list("ACDEFGHIKLMNPQRSTVWYX")
    return [
        Record(f"P{number}", "", "".join(generator.choice(letters, length)), number + 1)
        for number, length in enumerate(lengths)
    ]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


MIXED = proteins([5, 1, 70, 33, 2, 200, 64, 64, 9, 120])


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


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_pooling_is_over_the_residue_rows_alone(pool: Pool) -> None:
    vocab = VOCABS["openankh"]
    rows = dict(Embedder(MODELS["openankh"], vocab, EmbedOptions(pool="residues")).embed(MIXED))
    for record, array in Embedder(MODELS["openankh"], vocab, EmbedOptions(pool=pool)).embed(MIXED):
        expected = rows[record].mean(0) if pool == "mean" else rows[record].max(0)
        np.testing.assert_allclose(array, expected, atol=1e-6)


@pytest.mark.parametrize("layer", range(-NUM_LAYERS - 1, NUM_LAYERS + 1))
def test_layers_are_numbered_as_hidden_states_of_transformers(layer: int) -> None:
    transformers = pytest.importorskip("transformers")
    vocab = VOCABS["ankh"]
    model = MODELS["ankh"]
    config = transformers.T5Config(**model.config.to_hf())
    oracle = transformers.T5EncoderModel(config).eval()
    state = model.state_dict()
    oracle.load_state_dict({**state, "encoder.embed_tokens.weight": state["shared.weight"]}, strict=False)
    record = proteins([40])[0]
    tokens = torch.tensor([[*vocab.encode(record.sequence).tolist(), EOS]])
    with torch.inference_mode():
        expected = oracle(input_ids=tokens, output_hidden_states=True).hidden_states[layer][0, :-1].numpy()
    ((_, found),) = Embedder(model, vocab, EmbedOptions(pool="residues", layer=layer)).embed([record])
    assert relative_error(found, expected) <= 2e-6


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
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EmbedOptions(**{field: value})  # type: ignore[arg-type]


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


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 60), st.integers(1, 2))
@settings(max_examples=200, deadline=None)
def test_every_record_is_in_exactly_one_batch_in_order_within_the_budget(
    lengths: list[int], max_tokens: int, num_added: int
) -> None:
    records = proteins(lengths)
    batches = list(token_batches(records, lambda: max_tokens, num_added))
    assert [record for batch in batches for record in batch] == records
    for batch in batches:
        assert len(batch) == 1 or sum(len(record.sequence) + num_added for record in batch) <= max_tokens
    for batch, following in pairwise(batches):
        joined = [*batch, following[0]]
        assert sum(len(record.sequence) + num_added for record in joined) > max_tokens


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    ],
)
@pytest.mark.parametrize("limit", [30, 130, 210])
def test_when_memory_runs_out_the_budget_is_halved_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: Exception, limit: int
) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(pool="residues"))
    records = [record for record in MIXED if len(record.sequence) + 1 <= limit] * 3
    expected = list(embedder.embed(records))
    encode, failures = embedder.encoder.encode, []

    def encode_with_little_memory(tokens: torch.Tensor, *rest: object) -> object:
        if len(tokens) > limit:
            failures.append(len(tokens))
            raise error
        return encode(tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(embedder.encoder, "encode", encode_with_little_memory)
    found = list(embedder.embed(records))
    assert [record for record, _ in found] == records
    for (_, array), (_, whole) in zip(found, expected, strict=True):
        assert relative_error(array, whole) <= 1e-6
    assert failures and len(failures) <= 12
    assert embedder.max_tokens < 4096
    num_failures = len(failures)
    list(embedder.embed(records[:3]))
    assert len(failures) == num_failures, "the smaller budget is kept"


def test_a_protein_that_does_not_fit_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"])

    def never(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(embedder.encoder, "encode", never)
    with pytest.raises(UserError, match=r"record 'P5' \(200 residues\) does not fit in the memory of cpu"):
        list(embedder.embed(MIXED[5:6]))


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


def test_fp16_is_rounded_at_the_end_and_numbers_beyond_its_range_are_refused() -> None:
    vocab = VOCABS["ankh"]
    exact = dict(Embedder(MODELS["ankh"], vocab, EmbedOptions()).embed(MIXED))
    for record, array in Embedder(MODELS["ankh"], vocab, EmbedOptions(dtype="fp16")).embed(MIXED):
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, exact[record].astype(np.float16))
    loud = tiny_model(vocab)
    loud.encoder.final_layer_norm.weight.data.mul_(1e6)
    with pytest.raises(UserError, match=r"records P0 to P9: .*not finite in fp16; use fp32 or bf16"):
        list(Embedder(loud, vocab, EmbedOptions(dtype="fp16")).embed(MIXED))


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
