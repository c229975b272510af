"""A tokenizer of another model is refused in one line, however alike the two are; unknown ones are let be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import openankh
from model_folders import TINY, random_model
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.errors import UserError
from openankh.published import ANKH3_ALPHABET, ANKH_ALPHABET, PUBLISHED
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH, Vocab, openankh_vocab
from openankh.vocabulary_check import check_vocabulary

FOLDER = Path("folder")


def vocabulary(*middle: str, size: int) -> Vocab:
    pieces = ("<pad>", "</s>", "<unk>", *middle)
    return Vocab((*pieces, *(f"<extra_id_{number}>" for number in range(size - len(pieces) - 1, -1, -1))))


ANKH3 = vocabulary("[GLM]", "[NLU]", "[S2S]", "▁", *"LAGSVERTIDPKNFQYHMCW", *"XBZU", size=256)
OURS = openankh_vocab()
UNKNOWN = vocabulary(*"ACDEFGHIKLMNPQRSTVWY", size=144)


def refusal(vocab: Vocab, config: dict[str, Any], **options: Any) -> str:
    """The line with which a vocabulary is refused, "" where it is not."""
    line = ""
    try:
        check_vocabulary(vocab, config, FOLDER, **options)
    except UserError as error:
        line = str(error)
    assert "\n" not in line and len(line) < 400 and (not line or line.startswith("folder"))
    return line


@pytest.mark.parametrize(
    ("vocab", "size"), [(ANKH, 144), (ANKH3, 256), (OURS, 256), (UNKNOWN, 144), (ANKH, 160), (ANKH, 192)]
)
def test_a_tokenizer_of_the_models_size_or_a_little_smaller_is_taken(vocab: Vocab, size: int):
    marks = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    assert refusal(vocab, {"vocab_size": size, **marks}) == ""


@pytest.mark.parametrize(
    ("vocab", "size", "message"),
    [
        (ANKH, 256, "tokenizer has 144 pieces, as that of Ankh and Ankh2, its model rows for 256, as Ankh3"),
        (ANKH3, 144, "tokenizer has 256 pieces, as that of Ankh3, its model rows for 144, as Ankh and Ankh2"),
        (ANKH, 143, "its model rows for 143: they do not belong together"),
        (ANKH, 208, "its model rows for 208: they do not belong together"),
        (vocabulary(*"ALGVSREDTIPKFQNYMHWCXBOUZ", size=256), 256, "orders residues as Ankh and Ankh2"),
        (vocabulary(*ANKH3.pieces[3:31], size=144), 144, "orders residues as Ankh3, its model has 144 rows"),
    ],
)
def test_a_tokenizer_of_the_other_generation_is_told_by_its_size_or_its_residues(vocab: Vocab, size: int, message: str):
    line = refusal(vocab, {"vocab_size": size})
    assert message in line and "put the tokenizer files of this very model there" in line


@pytest.mark.parametrize("key", ["pad_token_id", "eos_token_id", "decoder_start_token_id"])
def test_a_config_with_other_marks_is_refused(key: str):
    assert f"{key} is 7" in refusal(ANKH, {"vocab_size": 144, key: 7})
    assert refusal(ANKH, {"vocab_size": 144, key: None}) == ""


def test_residue_ids_in_the_config_decide():
    ids = dict(zip(OURS.letters, OURS.residue_ids.tolist(), strict=True))
    assert refusal(OURS, {"vocab_size": 256, "residue_ids": ids}) == ""
    assert "gives A the id 8, folder/config.json says 5" in refusal(ANKH3, {"vocab_size": 256, "residue_ids": ids})
    assert "has no J" in refusal(ANKH, {"vocab_size": 144, "residue_ids": {"A": 3, "J": 28}})
    assert "no table of residues to ids" in refusal(ANKH, {"vocab_size": 144, "residue_ids": [3, 4]})


@pytest.mark.parametrize(
    ("vocab", "size", "alphabet", "message"),
    [
        (ANKH, 144, ANKH_ALPHABET, ""),
        (ANKH3, 256, ANKH3_ALPHABET, ""),
        (UNKNOWN, 144, ANKH_ALPHABET, "gives L the id 12, Ankh and Ankh2 4"),
        (OURS, 256, ANKH3_ALPHABET, "gives L the id 6, Ankh3 7"),
        (ANKH, 160, ANKH_ALPHABET, "every one of Ankh and Ankh2 for 144: this is another model"),
        (vocabulary("a", "b", "c", "d", *"LAGSVERTIDPKNFQYHMCW", size=256), 256, ANKH3_ALPHABET, "no piece [NLU]"),
    ],
)
def test_a_published_model_must_have_the_vocabulary_that_is_known_of_it(
    vocab: Vocab, size: int, alphabet: Any, message: str
):
    line = refusal(vocab, {"vocab_size": size}, expected=alphabet)
    assert message in line and bool(line) == bool(message)


def test_the_known_alphabets_are_those_of_their_models():
    assert {letter: ANKH.encode(letter)[0] for letter in ANKH.letters} == ANKH_ALPHABET.residue_ids
    assert [ANKH3_ALPHABET.residue_ids[letter] for letter in "LW"] == [7, 26]
    for model in PUBLISHED:
        assert model.alphabet is (ANKH3_ALPHABET if "ankh3" in model.name else ANKH_ALPHABET)


# In whole folders


def test_a_model_folder_with_another_models_tokenizer_is_refused_also_after_it_went_through_other_software(
    tmp_path: Path,
):
    save_model(random_model(replace(TINY, vocab_size=256)), OURS, tmp_path / "ours", Provenance("ours"))
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["residue_ids"]["A"] == 5
    (tmp_path / "ours" / "openankh.json").unlink()
    write_tokenizer(ANKH3, tmp_path / "ours")
    with pytest.raises(UserError, match=r"gives A the id 8, .*config.json says 5: embeddings would be nonsense"):
        load_model(tmp_path / "ours")


def test_what_hashes_vouch_for_needs_no_guess(tmp_path: Path):
    extended = vocabulary(*"ALGVSREDTIPKFQNYMHWCXBOUZ", size=256)
    save_model(random_model(replace(TINY, vocab_size=256)), extended, tmp_path / "model", Provenance("mine"))
    assert load_model(tmp_path / "model").vocab == extended
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    del config["residue_ids"]
    copy = Path(shutil.copytree(tmp_path / "model", tmp_path / "copy"))
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "openankh.json").unlink()
    with pytest.raises(UserError, match="orders residues as Ankh and Ankh2, its model has 256 rows as Ankh3"):
        load_model(copy)


@pytest.mark.parametrize("prefix", ["auto", "nlu", "s2s", "none"])
def test_the_prefixes_of_a_vocabulary_like_ankh3s_are_found_by_name(tmp_path: Path, prefix: Any):
    save_model(random_model(replace(TINY, vocab_size=256)), ANKH3, tmp_path / "model", Provenance("like-ankh3"))
    model = openankh.load(tmp_path / "model", "cpu", "fp32")
    assert [model.vocab.prefix_id(name) for name in ("[NLU]", "[S2S]")] == [4, 5]
    ((_, rows),) = model.embed(["MKTAYIAKQR"], pool="residues", prefix=prefix)
    assert rows.shape == (10, 16)
    same = {"auto": "nlu", "nlu": "auto", "s2s": "s2s", "none": "none"}[prefix]
    others = {"auto", "nlu", "s2s", "none"} - {prefix, same}
    for other in ("auto", "nlu", "s2s", "none"):
        ((_, found),) = model.embed(["MKTAYIAKQR"], pool="residues", prefix=other)  # type: ignore[arg-type]
        assert (found == rows).all() == (other not in others)
