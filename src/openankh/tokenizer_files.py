"""The tokenizer files of a Hugging Face T5 folder: a vocabulary read from them, and written so that they open there."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.json_file import read_json_object
from openankh.sentencepiece_file import read_spiece
from openankh.vocab import AMINO_ACIDS, EOS, PAD, SPECIAL_PIECES, UNK, Vocab

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
SPIECE_MODEL = "spiece.model"
TOKENIZER_FILES = (TOKENIZER_JSON, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS, SPIECE_MODEL)
"""Every file from which `read_vocab` may read."""

_WORD_MARK = "▁"
_DEFAULT_EXTRA_IDS = 100
_MAX_PIECES = 1 << 20


def read_vocab(folder: Path) -> Vocab:
    """The vocabulary of a model folder, from its `tokenizer.json`, else from its `spiece.model`.

    A `spiece.model` lacks what T5's tokenizer adds to it: the sentinels, numbered downwards to the last id
    (`<extra_id_i>` = size - 1 - i), as many as the folder's other files say. UserError names the file and the fault.
    """
    json_path, spiece_path = folder / TOKENIZER_JSON, folder / SPIECE_MODEL
    if json_path.exists():
        path, ids = json_path, _ids_of_tokenizer_json(json_path)
    elif spiece_path.exists():
        path, ids = spiece_path, _ids_of_spiece(spiece_path)
    else:
        raise UserError(f"{folder}: no {TOKENIZER_JSON} and no {SPIECE_MODEL}; a model's folder needs one of them")
    try:
        return Vocab(_unmarked(_in_order(ids)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def vocab_files(folder: Path) -> tuple[str, ...]:
    """The names of the files there that `read_vocab` reads: `tokenizer.json` alone, or `spiece.model` and the rest."""
    if (folder / TOKENIZER_JSON).exists():
        return (TOKENIZER_JSON,)
    return tuple(name for name in TOKENIZER_FILES if (folder / name).exists())


def _unmarked(pieces: tuple[str, ...]) -> tuple[str, ...]:
    """The pieces without a word mark in front of each residue, where all residues have one.

    Some protein T5s were trained on residues with spaces between them: their pieces are `▁A`, `▁L` and so on.
    """
    marked = {f"{_WORD_MARK}{residue}" for residue in AMINO_ACIDS}
    if not marked <= set(pieces) or set(AMINO_ACIDS) & set(pieces):
        return pieces
    return tuple(piece[1:] if len(piece) == 2 and piece[0] == _WORD_MARK else piece for piece in pieces)


def _in_order(ids: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Pieces by id; naming a piece twice under the same id is allowed, as HF's files do for added tokens."""
    pieces: dict[int, str] = {}
    for piece, token_id in ids:
        if not 0 <= token_id < _MAX_PIECES:
            raise UserError(f"the piece {piece!r} has the id {token_id}, outside 0 to {_MAX_PIECES - 1:,}")
        if pieces.setdefault(token_id, piece) != piece:
            raise UserError(f"id {token_id} is given to both {pieces[token_id]!r} and {piece!r}; it can have one piece")
    for token_id in range(len(pieces)):
        if token_id not in pieces:
            raise UserError(f"no piece has the id {token_id}, though there are higher ones; ids must leave no gap")
    return tuple(pieces[token_id] for token_id in range(len(pieces)))


def _ids_of_tokenizer_json(path: Path) -> list[tuple[str, int]]:
    content = read_json_object(path)
    model = content.get("model")
    pieces = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(pieces, dict):  # WordLevel, BPE, WordPiece: piece -> id
        ids = [_piece_and_id(piece, token_id, path) for piece, token_id in pieces.items()]
    elif isinstance(pieces, list):  # Unigram: [piece, log probability] in the order of ids
        ids = [(_unigram_piece(entry, path), token_id) for token_id, entry in enumerate(pieces)]
    else:
        raise UserError(f"{path}: no vocabulary under model.vocab; not a tokenizer of the tokenizers library")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise UserError(f"{path}: added_tokens is not a list of objects")
    return ids + [_piece_and_id(token.get("content"), token.get("id"), path) for token in added]


def _unigram_piece(entry: Any, path: Path) -> str:
    if isinstance(entry, list) and entry and isinstance(entry[0], str):
        return entry[0]
    raise UserError(f"{path}: model.vocab holds {_shown(entry)} where [piece, score] is expected")


def _piece_and_id(piece: Any, token_id: Any, path: Path) -> tuple[str, int]:
    if isinstance(piece, str) and isinstance(token_id, int) and not isinstance(token_id, bool):
        return piece, token_id
    raise UserError(f"{path}: {_shown(piece)} with the id {_shown(token_id)}: a piece is a text, its id a whole number")


def _shown(value: Any) -> str:
    return repr(value)[:40]


def _ids_of_spiece(path: Path) -> list[tuple[str, int]]:
    pieces = read_spiece(path)
    ids = [(piece, token_id) for token_id, piece in enumerate(pieces)]
    if any(piece.startswith("<extra_id_") for piece in pieces):
        return ids
    return ids + _added_to_spiece(path.parent, len(pieces))


def _added_to_spiece(folder: Path, num_pieces: int) -> list[tuple[str, int]]:
    """What the folder's other files add to the pieces, from the most to the least explicit of them."""
    config = _read_if_there(folder / TOKENIZER_CONFIG)
    explicit = config.get("added_tokens_decoder")
    if isinstance(explicit, dict) and explicit:
        return _decoder_entries(explicit, folder / TOKENIZER_CONFIG)
    extra_ids = _num_extra_ids(folder, config, num_pieces)
    last = num_pieces + extra_ids - 1
    sentinels = [(f"<extra_id_{number}>", last - number) for number in range(extra_ids)]
    path = folder / ADDED_TOKENS
    return sentinels + [_piece_and_id(piece, token_id, path) for piece, token_id in _read_if_there(path).items()]


def _decoder_entries(decoder: Mapping[str, Any], path: Path) -> list[tuple[str, int]]:
    entries = []
    for key, token in decoder.items():
        token_id = int(key) if key.isdecimal() and len(key) < 10 else None
        entries.append(_piece_and_id(token.get("content") if isinstance(token, dict) else token, token_id, path))
    return entries


def _num_extra_ids(folder: Path, config: Mapping[str, Any], num_pieces: int) -> int:
    """The number of sentinels, by T5's own rules: a list of special tokens, `extra_ids`, the model's size, or 100."""
    listed = max(map(_num_listed_sentinels, (config, _read_if_there(folder / SPECIAL_TOKENS_MAP))))
    if listed:
        return listed
    if isinstance(extra_ids := config.get("extra_ids"), int):
        return _checked_extra_ids(extra_ids, folder / TOKENIZER_CONFIG)
    if isinstance(size := _read_if_there(folder / "config.json").get("vocab_size"), int):
        return _checked_extra_ids(size - num_pieces, folder / "config.json")
    return _DEFAULT_EXTRA_IDS


def _num_listed_sentinels(settings: Mapping[str, Any]) -> int:
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = settings.get(key)
        if isinstance(listed, list):
            texts = [token.get("content") if isinstance(token, dict) else token for token in listed]
            return len({text for text in texts if isinstance(text, str) and text.startswith("<extra_id_")})
    return 0


def _checked_extra_ids(count: int, path: Path) -> int:
    if 0 <= count < _MAX_PIECES:
        return count
    raise UserError(f"{path}: leaves {count:,} sentinels to add to {SPIECE_MODEL}; the two do not belong together")


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def write_tokenizer(vocab: Vocab, folder: Path) -> None:
    """Write the vocabulary as tokenizer files that transformers' AutoTokenizer opens.

    They encode a protein into exactly `vocab.encode` of it and `</s>`, and each sentinel or prefix typed in the text
    into its id. The tokenizer class named in them is the plain one: transformers 5 rebuilds a T5Tokenizer around word
    marks, which puts `<unk>` in front of a protein.
    """
    added = [(token_id, piece) for token_id, piece in enumerate(vocab.pieces) if _is_added(piece)]
    _write_json(folder / TOKENIZER_JSON, _tokenizer_json(vocab, added))
    named = {"pad_token": vocab.pieces[PAD], "eos_token": vocab.pieces[EOS], "unk_token": vocab.pieces[UNK]}
    others = [piece for _, piece in added if piece not in SPECIAL_PIECES]
    _write_json(folder / SPECIAL_TOKENS_MAP, {**named, "additional_special_tokens": others})
    config = {
        **named,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {str(token_id): _flags(piece) for token_id, piece in added},
        "additional_special_tokens": others,
        "extra_ids": vocab.num_sentinels,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(folder / TOKENIZER_CONFIG, config)


def _is_added(piece: str) -> bool:
    return len(piece) > 1 and piece[0] + piece[-1] in ("<>", "[]")


def _flags(piece: str) -> dict[str, Any]:
    return {
        "content": piece,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _tokenizer_json(vocab: Vocab, added: Iterable[tuple[int, str]]) -> dict[str, Any]:
    eos = vocab.pieces[EOS]
    end = {"SpecialToken": {"id": eos, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token_id, **_flags(piece)} for token_id, piece in added],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, end],
            "pair": [first, end, second, end],
            "special_tokens": {eos: {"id": eos, "ids": [EOS], "tokens": [eos]}},
        },
        "decoder": {"type": "Fuse"},
        # Byte-pair encoding without merges: every letter is a piece of its own, in time linear in the length.
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": vocab.pieces[UNK],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {piece: token_id for token_id, piece in enumerate(vocab.pieces)},
            "merges": [],
        },
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
