"""The pieces of a SentencePiece model (`spiece.model`), read from its protocol-buffer bytes."""

from collections.abc import Iterator
from pathlib import Path

from openankh.errors import UserError
from openankh.json_file import read_limited

MAX_SPIECE_BYTES = 4 << 20
_PIECES_FIELD = 1  # ModelProto: repeated SentencePiece pieces = 1
_TEXT_FIELD = 1  # SentencePiece: string piece = 1
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def read_spiece(path: Path) -> tuple[str, ...]:
    """The pieces in the order of their ids; UserError when the bytes are not a SentencePiece model."""
    content = read_limited(path, MAX_SPIECE_BYTES)
    try:
        pieces = tuple(_text(piece) for field, piece in _fields(content) if field == _PIECES_FIELD)
    except ValueError as error:
        raise UserError(f"{path}: not a SentencePiece model ({error}); fetch the file again") from None
    if not pieces:
        raise UserError(f"{path}: a SentencePiece model without pieces; fetch the file again")
    return pieces


def _text(piece: bytes) -> str:
    for field, value in _fields(piece):
        if field == _TEXT_FIELD:
            return value.decode("utf-8")
    raise ValueError("a piece without text")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and bytes of each length-delimited field of a message; numbers are stepped over."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        elif kind == _VARINT:
            length, place = 0, _varint(message, place)[1]
        else:
            raise ValueError(f"unknown kind of field at byte {place}")
        if place + length > len(message):
            raise ValueError(f"cut off: a field at byte {place} runs past the end")
        if kind == _BYTES:
            yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("cut off inside a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number of more than ten bytes before byte {place}")
