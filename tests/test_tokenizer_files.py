"""Tokenizer files: every kind that exists for a T5 is read, and what is written opens in transformers."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Config, T5TokenizerFast  # pyright: ignore
from transformers.convert_slow_tokenizer import import_protobuf

from openankh.errors import UserError
from openankh.tokenizer_files import read_vocab, vocab_files, write_tokenizer
from openankh.vocab import ANKH, Vocab, ankh_vocab, openankh_vocab

VOCABS = [ankh_vocab(), openankh_vocab()]
RESIDUES = ANKH.pieces[:28]
ANKH3_LIKE = Vocab(
    (
        *("<pad>", "</s>", "<unk>", "▁", "[NLU]", "[S2S]", "[GLM]", *"LAGSVERTIDPKNFQYHMCW", *"XBZU"),
        *(f"<extra_id_{number}>" for number in range(224, -1, -1)),
    )
)
in_one_folder = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sentinels(count: int) -> list[str]:
    return [f"<extra_id_{number}>" for number in range(count)]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def refusal_of(folder: Path) -> str:
    """What read_vocab has against the folder; any other exception passes through and fails the test."""
    try:
        read_vocab(folder)
    except UserError as error:
        return str(error)
    return ""


def spiece(pieces: tuple[str, ...] | list[str]) -> bytes:
    protobuf: Any = import_protobuf()
    model = protobuf.ModelProto()
    for piece in pieces:
        model.pieces.add(piece=piece, score=-1.5, type=1)
    model.trainer_spec.vocab_size = len(pieces)
    model.normalizer_spec.name = "identity"
    return model.SerializeToString()


# Writing


@pytest.mark.parametrize("vocab", [*VOCABS, ANKH3_LIKE], ids=["ankh", "openankh", "ankh3-like"])
@pytest.mark.parametrize("with_config", [False, True])
def test_what_is_written_opens_in_transformers_with_the_same_ids(tmp_path: Path, vocab: Vocab, with_config: bool):
    write_tokenizer(vocab, tmp_path)
    if with_config:  # transformers then knows that the model is a T5, whose own tokenizer would insert <unk>
        T5Config(vocab_size=vocab.size).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("MKTX").input_ids == [*vocab.encode("MKTX").tolist(), 1]
    assert tokenizer.convert_ids_to_tokens(list(range(vocab.size))) == list(vocab.pieces)
    assert len(tokenizer) == vocab.size
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("MK<extra_id_0>T<extra_id_7>").input_ids == [
        *vocab.encode("MK").tolist(),
        vocab.sentinel_ids[0],
        *vocab.encode("T").tolist(),
        vocab.sentinel_ids[7],
        1,
    ]
    for prefix in vocab.prefixes:
        assert tokenizer(f"{prefix}MK").input_ids == [vocab.prefix_id(prefix), *vocab.encode("MK").tolist(), 1]
    assert tokenizer.decode(tokenizer("MKTX").input_ids, skip_special_tokens=True) == "MKTX"


def test_an_unknown_letter_is_one_unk_for_transformers(tmp_path: Path):
    write_tokenizer(ANKH, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    m, k = ANKH.encode("MK").tolist()
    assert tokenizer("Mjj1K").input_ids == [m, 2, 2, 2, k, 1]


@pytest.fixture(scope="module")
def written_tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Vocab, PreTrainedTokenizerFast]]:
    pairs = []
    for number, vocab in enumerate(VOCABS):
        folder = tmp_path_factory.mktemp(f"tokenizer{number}")
        write_tokenizer(vocab, folder)
        pairs.append((vocab, AutoTokenizer.from_pretrained(folder)))
    return pairs


@settings(deadline=None)
@given(sequence=st.text(st.sampled_from("ALGVSREDTIPKFQNYMHWCXBOUZ"), max_size=200))
def test_transformers_encodes_and_decodes_any_protein_as_we_do(
    written_tokenizers: list[tuple[Vocab, PreTrainedTokenizerFast]], sequence: str
):
    for vocab, tokenizer in written_tokenizers:
        ids = tokenizer(sequence).input_ids
        assert ids == [*vocab.encode(sequence).tolist(), 1]
        assert tokenizer.decode(ids) == vocab.decode(ids) == f"{sequence}</s>"


@pytest.mark.parametrize("vocab", [*VOCABS, ANKH3_LIKE], ids=["ankh", "openankh", "ankh3-like"])
def test_what_is_written_is_read_back_also_after_transformers_saved_it_again(tmp_path: Path, vocab: Vocab):
    write_tokenizer(vocab, tmp_path)
    assert read_vocab(tmp_path) == vocab
    again = tmp_path / "again"
    AutoTokenizer.from_pretrained(tmp_path).save_pretrained(again)
    assert read_vocab(again) == vocab


# Reading tokenizer.json


def test_a_t5_tokenizer_saved_by_transformers_is_read(tmp_path: Path):
    T5TokenizerFast(vocab=[(piece, -1.0) for piece in ANKH.pieces], extra_ids=116).save_pretrained(tmp_path)
    assert read_vocab(tmp_path) == ANKH


@pytest.mark.parametrize("kind", ["Unigram", "WordLevel", "BPE", "WordPiece"])
@pytest.mark.parametrize("sentinels_are_added", [False, True])
def test_every_kind_of_tokenizers_model_is_read(tmp_path: Path, kind: str, sentinels_are_added: bool):
    pieces = RESIDUES if sentinels_are_added else ANKH.pieces
    ids = {piece: token_id for token_id, piece in enumerate(pieces)}
    model = {
        "Unigram": lambda: tokenizers.models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2),
        "WordLevel": lambda: tokenizers.models.WordLevel(ids, unk_token="<unk>"),
        "BPE": lambda: tokenizers.models.BPE(ids, [], unk_token="<unk>"),
        "WordPiece": lambda: tokenizers.models.WordPiece(ids, unk_token="<unk>"),
    }[kind]()
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *reversed(sentinels(116))])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert read_vocab(tmp_path) == ANKH


def trained_spiece(path: Path) -> Any:
    """A SentencePiece model of one-letter pieces and two prefixes, with the table of T5's normaliser in it."""
    source = random.Random(0)
    proteins = ["".join(source.choices("ALGVSREDTIPKFQNYMHWCXBOUZ", k=80)) for _ in range(300)]
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(proteins),
            model_writer=file,
            model_type="unigram",
            vocab_size=31,
            max_sentencepiece_length=1,
            hard_vocab_limit=False,
            add_dummy_prefix=False,
            user_defined_symbols=["[NLU]", "[S2S]"],
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_name="nmt_nfkc",
            minloglevel=2,
        )
    model: Any = import_protobuf().ModelProto()  # pyright: ignore
    model.ParseFromString(path.read_bytes())
    assert len(model.normalizer_spec.precompiled_charsmap) > 100_000
    return model


@pytest.mark.parametrize("normalised", [False, True], ids=["bare", "precompiled"])
def test_a_unigram_with_and_without_the_precompiled_normaliser_gives_the_ids_that_tokenizers_gives(
    tmp_path: Path, normalised: bool
):
    model = trained_spiece(tmp_path / "trained.model")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram([(p.piece, p.score) for p in model.pieces], unk_id=2))
    if normalised:
        table = tokenizers.normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
        tokenizer.normalizer = tokenizers.normalizers.Sequence([table])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", "[NLU]", "[S2S]", *reversed(sentinels(10))])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocab = read_vocab(tmp_path)
    expected = [vocab.prefix_id("[S2S]"), *vocab.encode("MKTAYIAKQRX").tolist(), vocab.sentinel_ids[3]]
    assert tokenizer.encode("[S2S]MKTAYIAKQRX<extra_id_3>").ids == expected


def test_what_transformers_makes_of_a_spiece_model_is_read_as_the_model_itself(tmp_path: Path):
    trained_spiece(tmp_path / "spiece.model")
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 10})
    T5TokenizerFast.from_pretrained(tmp_path, extra_ids=10).save_pretrained(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert (content["model"]["type"], content["normalizer"]["type"]) == ("Unigram", "Precompiled")
    assert read_vocab(tmp_path / "saved") == read_vocab(tmp_path)
    assert read_vocab(tmp_path).prefixes == ("[NLU]", "[S2S]")


MARKED = tuple(f"▁{piece}" if len(piece) == 1 else piece for piece in RESIDUES)


def test_residues_with_word_marks_are_residues(tmp_path: Path):
    pieces = [(piece, -1.0) for piece in (*MARKED, *reversed(sentinels(100)))]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=100)
    tokenizer.save_pretrained(tmp_path)
    vocab = read_vocab(tmp_path)
    assert vocab.letters == ANKH.letters and vocab.num_sentinels == 100
    assert tokenizer("M K T A Y X").input_ids == [*vocab.encode("MKTAYX").tolist(), 1]


def test_word_marks_stay_where_residues_have_none(tmp_path: Path):
    pieces = (*RESIDUES, "▁", "▁A", *reversed(sentinels(3)))
    write_json(tmp_path / "tokenizer.json", tokenizer_json({piece: number for number, piece in enumerate(pieces)}))
    assert read_vocab(tmp_path).pieces == pieces


def test_the_files_that_are_read_are_named(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(spiece(RESIDUES))
    write_json(tmp_path / "added_tokens.json", {})
    assert vocab_files(tmp_path) == ("added_tokens.json", "spiece.model")
    write_tokenizer(ANKH, tmp_path)
    assert vocab_files(tmp_path) == ("tokenizer.json",)


def tokenizer_json(vocab: Any, added: Any = ()) -> dict[str, Any]:
    return {"model": {"type": "WordLevel", "vocab": vocab}, "added_tokens": added}


IDS = {piece: token_id for token_id, piece in enumerate(RESIDUES)}
MALFORMED = {
    "not JSON": (b"{", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "not UTF-8": (b"\xff\xfe{}", "not valid JSON"),
    "a bomb of brackets": (b"[" * 1_000_000, "nested too deeply"),
    "a number of many digits": (b'{"model":' + b"9" * 5_000 + b"}", "not valid JSON"),
    "a list": (b"[]", "holds a list where a JSON object is expected"),
    "no model": (b"{}", "no vocabulary under model.vocab"),
    "a model that is a text": ({"model": "T5"}, "no vocabulary under model.vocab"),
    "no residues": (tokenizer_json({"<pad>": 0, "</s>": 1, "<unk>": 2, "▁a": 3}), "no one-letter residues"),
    "no pieces": (tokenizer_json({}), "id 0 must be <pad>"),
    "a duplicate id": (tokenizer_json({**IDS, "J": 5}), "id 5 is given to both 'G' and 'J'"),
    "a piece twice": (tokenizer_json(IDS, [{"id": 28, "content": "A"}]), "'A' has more than one id"),
    "a gap": (tokenizer_json({**IDS, "J": 30}), "no piece has the id 28"),
    "a negative id": (tokenizer_json({**IDS, "J": -1}), "has the id -1"),
    "a vast id": (tokenizer_json({**IDS, "J": 10**15}), "has the id 1000000000000000"),
    "an id that is a text": (tokenizer_json({**IDS, "J": "28"}), "its id a whole number"),
    "an id that is a truth": (tokenizer_json({**IDS, "J": True}), "its id a whole number"),
    "an id that is a fraction": (tokenizer_json({**IDS, "J": 28.0}), "its id a whole number"),
    "a Unigram of texts": (tokenizer_json(list(RESIDUES)), r"where \[piece, score\] is expected"),
    "a Unigram of numbers": (tokenizer_json([[1, 2.0]]), r"where \[piece, score\] is expected"),
    "added tokens that are no list": (tokenizer_json(IDS, {"a": 1}), "added_tokens is not a list"),
    "added tokens that are texts": (tokenizer_json(IDS, ["<extra_id_0>"]), "added_tokens is not a list"),
    "an added token without id": (tokenizer_json(IDS, [{"content": "<extra_id_0>"}]), "its id a whole number"),
    "sentinels with a gap": (tokenizer_json(IDS, [{"id": 28, "content": "<extra_id_3>"}]), "<extra_id_0> is missing"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_tokenizer_json_is_one_line_that_names_the_file(tmp_path: Path, name: str):
    content, message = MALFORMED[name]
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UserError, match=message) as raised:
        read_vocab(tmp_path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_a_huge_tokenizer_json_is_refused_without_reading_it_all(tmp_path: Path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(10 << 30)  # sparse: no disk is used
    with pytest.raises(UserError, match="larger than"):
        read_vocab(tmp_path)


def test_a_folder_without_tokenizer_files_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"no tokenizer\.json and no spiece\.model"):
        read_vocab(tmp_path)
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(UserError, match="not a plain file"):
        read_vocab(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@in_one_folder
@given(model=json_values, vocab=json_values, added=json_values)
def test_json_of_any_shape_is_a_vocabulary_or_a_user_error(tmp_path: Path, model: Any, vocab: Any, added: Any):
    for value in ({"model": model, "added_tokens": added}, tokenizer_json(vocab, added), tokenizer_json(IDS, added)):
        write_json(tmp_path / "tokenizer.json", value)
        assert "\n" not in refusal_of(tmp_path)


# Reading spiece.model


def test_a_model_trained_by_sentencepiece_is_read_as_sentencepiece_reads_it(tmp_path: Path):
    path = tmp_path / "spiece.model"
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["ALGVSREDTIPKFQNYMHWC" * 3] * 20),
            model_writer=file,
            model_type="char",
            vocab_size=24,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    write_json(tmp_path / "tokenizer_config.json", {"extra_ids": 10})
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    expected = [processor.id_to_piece(token_id) for token_id in range(processor.get_piece_size())]
    vocab = read_vocab(tmp_path)
    assert list(vocab.pieces[:24]) == expected
    assert vocab.sentinel_ids.tolist() == [33 - number for number in range(10)]


def test_transformers_gives_a_sentencepiece_model_the_same_ids(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(spiece(RESIDUES))
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 116})
    tokenizer = T5TokenizerFast.from_pretrained(tmp_path, extra_ids=116)
    vocab = read_vocab(tmp_path)
    assert vocab == ANKH
    assert tokenizer.convert_ids_to_tokens(list(range(144))) == list(vocab.pieces)


DECODER = {str(143 - number): {"content": piece, "special": True} for number, piece in enumerate(sentinels(116))}
COMPANIONS: dict[str, dict[str, Any]] = {
    "the ids themselves": {"tokenizer_config.json": {"added_tokens_decoder": DECODER, "extra_ids": 3}},
    "a list of special tokens": {"tokenizer_config.json": {"additional_special_tokens": sentinels(116)}},
    "a list of objects": {
        "special_tokens_map.json": {"additional_special_tokens": [{"content": s} for s in sentinels(116)]}
    },
    "the new name of that list": {"tokenizer_config.json": {"extra_special_tokens": sentinels(116), "extra_ids": 0}},
    "a count": {"tokenizer_config.json": {"extra_ids": 116}},
    "the size of the model": {"config.json": {"vocab_size": 144}},
    "a count before the size": {"tokenizer_config.json": {"extra_ids": 116}, "config.json": {"vocab_size": 160}},
    "a file of added tokens": {
        "tokenizer_config.json": {"extra_ids": 0},
        "added_tokens.json": {piece: 143 - number for number, piece in enumerate(sentinels(116))},
    },
}


@pytest.mark.parametrize("source", COMPANIONS)
def test_the_sentinels_that_a_sentencepiece_model_lacks_come_from_its_companions(tmp_path: Path, source: str):
    (tmp_path / "spiece.model").write_bytes(spiece(RESIDUES))
    for name, content in COMPANIONS[source].items():
        write_json(tmp_path / name, content)
    assert read_vocab(tmp_path) == ANKH


def test_without_any_companion_t5_adds_a_hundred_sentinels(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(spiece(RESIDUES))
    assert read_vocab(tmp_path).sentinel_ids.tolist() == [127 - number for number in range(100)]


def test_sentinels_inside_a_sentencepiece_model_stay_where_they_are(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(spiece(ANKH3_LIKE.pieces))
    write_json(tmp_path / "tokenizer_config.json", {"extra_ids": 100})
    assert read_vocab(tmp_path) == ANKH3_LIKE


def test_tokenizer_json_goes_before_a_sentencepiece_model(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(b"nonsense")
    write_tokenizer(ANKH, tmp_path)
    assert read_vocab(tmp_path) == ANKH


def test_a_model_smaller_than_its_sentencepiece_file_is_refused(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(spiece(RESIDUES))
    write_json(tmp_path / "config.json", {"vocab_size": 20})
    with pytest.raises(UserError, match=r"config\.json: leaves -8 sentinels"):
        read_vocab(tmp_path)


def test_every_cut_off_sentencepiece_model_is_refused_or_lacks_pieces(tmp_path: Path):
    whole = spiece(RESIDUES)
    path = tmp_path / "spiece.model"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        if refusal := refusal_of(tmp_path):
            assert refusal.startswith(str(path)) and "\n" not in refusal
        else:  # cut between two pieces behind the amino acids: nothing in the format tells
            assert read_vocab(tmp_path).pieces[:23] == RESIDUES[:23]


@in_one_folder
@given(content=st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: spiece(RESIDUES) + tail))
def test_bytes_of_any_kind_are_a_vocabulary_or_a_user_error(tmp_path: Path, content: bytes):
    path = tmp_path / "spiece.model"
    path.write_bytes(content)
    assert "\n" not in refusal_of(tmp_path)


@in_one_folder
@given(pieces=st.lists(st.text(max_size=8), max_size=30))
def test_the_protobuf_reader_agrees_with_protobuf(tmp_path: Path, pieces: list[str]):
    from openankh.sentencepiece_file import read_spiece

    path = tmp_path / "spiece.model"
    path.write_bytes(spiece(["<pad>", *pieces]))
    assert read_spiece(path) == ("<pad>", *pieces)
