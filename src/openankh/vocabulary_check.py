"""Whether a tokenizer belongs to the model in its folder: the number of pieces, and the ids of residues and marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.published import ALPHABETS, Alphabet
from openankh.vocab import EOS, PAD, Vocab

RESIDUE_IDS = "residue_ids"
"""The key under which we write the residues' ids to a model's config.json; other software leaves it there."""

MAX_SPARE_ROWS = 63
"""Rows of an embedding beyond the vocabulary: many round up to a multiple of 64 at most."""

_MARKS = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
_REMEDY = "put the tokenizer files of this very model there, or fetch the folder again"


def check_vocabulary(
    vocab: Vocab, config: Mapping[str, Any], folder: Path, expected: Alphabet | None = None, sealed: bool = False
) -> None:
    """Raise UserError, in one line, for a vocabulary that is not that of the model which `config` (its JSON) describes.

    `expected` is the alphabet of a published model, None when it is another. In a `sealed` folder hashes prove that
    the two were saved together.
    """
    size = config.get("vocab_size")
    assert isinstance(size, int), "the config was read before"
    _check_size(vocab, size, folder)
    _check_marks(config, folder)
    if RESIDUE_IDS in config:
        _check_residue_ids(vocab, config[RESIDUE_IDS], f"{folder / 'config.json'} says", folder)
    elif not sealed:
        _check_generation(vocab, size, folder)
    if expected is not None:
        _check_alphabet(vocab, size, expected, folder)


def residue_ids(vocab: Vocab) -> dict[str, int]:
    """The id of each residue, as it is written to a config.json."""
    return dict(zip(vocab.letters, vocab.residue_ids.tolist(), strict=True))


def _check_size(vocab: Vocab, num_rows: int, folder: Path) -> None:
    if 0 <= num_rows - vocab.size <= MAX_SPARE_ROWS:
        return
    pieces, rows = _generation_of_size(vocab.size), _generation_of_size(num_rows)
    raise UserError(
        f"{folder}: its tokenizer has {vocab.size} pieces{f', as that of {pieces}' if pieces else ''}, "
        f"its model rows for {num_rows}{f', as {rows}' if rows else ''}: they do not belong together; {_REMEDY}"
    )


def _check_marks(config: Mapping[str, Any], folder: Path) -> None:
    for key, token_id in _MARKS.items():
        found = config.get(key)
        if isinstance(found, int) and found != token_id:
            raise UserError(
                f"{folder / 'config.json'}: {key} is {found}, {token_id} in every Ankh and in its tokenizer; {_REMEDY}"
            )


def _check_residue_ids(vocab: Vocab, expected: Any, who: str, folder: Path) -> None:
    if not isinstance(expected, Mapping):
        raise UserError(f"{folder / 'config.json'}: {RESIDUE_IDS} is no table of residues to ids; fetch it again")
    found = residue_ids(vocab)
    for residue, token_id in expected.items():
        if found.get(residue) != token_id:
            here = f"gives {residue} the id {found[residue]}" if residue in found else f"has no {residue}"
            raise UserError(
                f"{folder}: its tokenizer {here}, {who} {token_id}: embeddings would be nonsense; {_REMEDY}"
            )


def _check_generation(vocab: Vocab, num_rows: int, folder: Path) -> None:
    """Residues ordered as in one generation in a model of another's size; of unknown orders nothing can be said."""
    found = residue_ids(vocab)
    for alphabet in ALPHABETS:
        is_it = all(found.get(residue) == token_id for residue, token_id in alphabet.residue_ids.items())
        other = _generation_of_size(num_rows)
        if is_it and other and other != alphabet.generation:
            raise UserError(
                f"{folder}: its tokenizer orders residues as {alphabet.generation}, its model has {num_rows} rows as "
                f"{other}: they do not belong together; {_REMEDY}"
            )


def _check_alphabet(vocab: Vocab, num_rows: int, expected: Alphabet, folder: Path) -> None:
    if num_rows != expected.size:
        raise UserError(
            f"{folder}: its model has rows for {num_rows} pieces, every one of {expected.generation} for "
            f"{expected.size}: this is another model; fetch the folder again"
        )
    _check_residue_ids(vocab, expected.residue_ids, expected.generation, folder)
    for prefix in expected.prefixes:
        if not vocab.has_prefix(prefix):
            raise UserError(f"{folder}: its tokenizer has no piece {prefix}, {expected.generation} has; {_REMEDY}")


def _generation_of_size(size: int) -> str:
    return next((alphabet.generation for alphabet in ALPHABETS if alphabet.size == size), "")
