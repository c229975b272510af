"""Vocabularies: the frozen layouts, encoding and decoding, and pieces that cannot serve."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.vocab import AMINO_ACIDS, ANKH, EOS, PAD, UNK, Vocab, ankh_vocab, openankh_vocab

VOCABS = [ankh_vocab(), openankh_vocab()]
letters = st.sampled_from("ALGVSREDTIPKFQNYMHWCXBOUZ")
proteins = st.text(letters, max_size=300)


def specials_and(*others: str) -> tuple[str, ...]:
    return ("<pad>", "</s>", "<unk>", *others)


def test_ankh_has_the_published_144_pieces():
    vocab = ankh_vocab()
    assert vocab is ANKH
    assert vocab.size == 144
    assert vocab.pieces[:3] == ("<pad>", "</s>", "<unk>") and (PAD, EOS, UNK) == (0, 1, 2)
    assert "".join(vocab.pieces[3:23]) == "ALGVSREDTIPKFQNYMHWC" == AMINO_ACIDS
    assert "".join(vocab.pieces[23:28]) == "XBOUZ"
    assert vocab.pieces[28:] == tuple(f"<extra_id_{number}>" for number in range(115, -1, -1))
    assert vocab.num_sentinels == 116
    assert vocab.sentinel_ids.tolist() == [143 - number for number in range(116)]


def test_new_models_have_256_pieces_with_prefixes_and_225_sentinels():
    vocab = openankh_vocab()
    assert vocab.size == 256
    assert vocab.pieces[:5] == ("<pad>", "</s>", "<unk>", "[NLU]", "[S2S]")
    assert vocab.letters == "ALGVSREDTIPKFQNYMHWCXBOUZJ"
    assert vocab.residue_ids.tolist() == list(range(5, 31))
    assert vocab.standard_ids.tolist() == list(range(5, 25))
    assert vocab.sentinel_ids.tolist() == [255 - number for number in range(225)]
    assert [vocab.prefix_id(name) for name in vocab.prefixes] == [3, 4]


def test_a_fingerprint_is_the_hash_of_the_pieces_and_tells_vocabularies_apart():
    expected = hashlib.sha256(json.dumps(list(ANKH.pieces)).encode()).hexdigest()
    assert ANKH.fingerprint == expected
    assert ANKH.fingerprint != openankh_vocab().fingerprint
    swapped = list(ANKH.pieces)
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert Vocab(tuple(swapped)).fingerprint != ANKH.fingerprint


def test_vocabularies_are_values_that_nobody_can_change():
    assert Vocab(ANKH.pieces) == ANKH and hash(Vocab(ANKH.pieces)) == hash(ANKH)
    for array in (ANKH.residue_ids, ANKH.standard_ids, ANKH.sentinel_ids):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("vocab", VOCABS, ids=["ankh", "openankh"])
@given(sequence=proteins)
def test_decoding_gives_back_what_was_encoded(vocab: Vocab, sequence: str):
    ids = vocab.encode(sequence)
    assert ids.dtype == np.uint8 and ids.shape == (len(sequence),) and ids.flags.writeable
    assert vocab.decode(ids) == sequence
    assert [vocab.pieces[token_id] for token_id in ids] == list(sequence)
    assert np.array_equal(vocab.encode(sequence.encode()), ids)
    assert np.isin(ids, vocab.residue_ids).all()


@given(sequences=st.lists(proteins, max_size=20))
def test_a_batch_is_its_sequences_encoded_one_by_one(sequences: list[str]):
    ids, offsets = ANKH.encode_batch(sequences)
    assert ids.dtype == np.uint8 and offsets.dtype == np.int64 and len(offsets) == len(sequences) + 1
    assert offsets[0] == 0 and offsets[-1] == len(ids)
    for index, sequence in enumerate(sequences):
        assert np.array_equal(ids[offsets[index] : offsets[index + 1]], ANKH.encode(sequence))


@given(before=proteins, bad=st.characters().filter(lambda letter: letter not in ANKH.letters), after=proteins)
def test_the_first_unknown_character_is_named_with_its_column(before: str, bad: str, after: str):
    with pytest.raises(UserError) as raised:
        ANKH.encode(before + bad + after)
    assert str(raised.value).startswith(f"column {len(before) + 1}: {bad!r} is no residue")
    assert "\n" not in str(raised.value)


@given(before=st.lists(proteins, max_size=5), start=proteins, after=st.lists(proteins, max_size=5))
def test_a_batch_names_the_sequence_of_its_first_unknown_character(before: list[str], start: str, after: list[str]):
    with pytest.raises(UserError) as raised:
        ANKH.encode_batch([*before, f"{start}J", *after])
    number, total = len(before) + 1, len(before) + 1 + len(after)
    assert str(raised.value).startswith(f"sequence {number} of {total}: column {len(start) + 1}: 'J' is no residue")


@pytest.mark.parametrize(
    ("sequence", "remedy"),
    [("MKv", "upper case"), ("MK-A", "alignments"), ("MK.A", "alignments"), ("M K", "use one of ALGVS")],
)
def test_a_refusal_says_what_to_do(sequence: str, remedy: str):
    with pytest.raises(UserError, match=remedy):
        ANKH.encode(sequence)


@pytest.mark.parametrize("sequence", ["", b""])
def test_an_empty_sequence_encodes_to_nothing(sequence: str | bytes):
    assert ANKH.encode(sequence).shape == (0,)
    assert ANKH.encode_batch([])[1].tolist() == [0]


def test_special_pieces_decode_to_their_names():
    assert openankh_vocab().decode([3, 21, 255, 1]) == "[NLU]M<extra_id_0></s>"


def test_a_prefix_that_is_not_there_is_refused_with_the_ones_that_are():
    assert openankh_vocab().has_prefix("[NLU]") and not ANKH.has_prefix("[NLU]") and not ANKH.has_prefix("A")
    with pytest.raises(UserError, match=r"prefix '\[NLG\]': .*its prefixes: \[NLU\], \[S2S\]"):
        openankh_vocab().prefix_id("[NLG]")
    with pytest.raises(UserError, match="its prefixes: none"):
        ANKH.prefix_id("[NLU]")


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), "id 0 must be <pad>, found 'nothing'"),
        (("<s>", "</s>", "<unk>", *AMINO_ACIDS), "id 0 must be <pad>, found '<s>'"),
        (specials_and(*AMINO_ACIDS, "A"), "'A' has more than one id"),
        (specials_and("▁the", "▁a"), "no one-letter residues"),
        (specials_and(*"ALGVSREDTIPKFQNYMH"), "for the amino acids CW"),
        (specials_and(*"ALGVSREDTIPKFQNYMHW", *(f"<{n}>" for n in range(300)), "C"), "for the amino acids C"),
        (specials_and(*AMINO_ACIDS, "<extra_id_1>", "<extra_id_0>", "<extra_id_3>"), "<extra_id_2> is missing"),
        (specials_and(*AMINO_ACIDS, "<extra_id_1>"), "<extra_id_0> is missing"),
    ],
)
def test_pieces_that_cannot_serve_are_refused(pieces: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        Vocab(pieces)
