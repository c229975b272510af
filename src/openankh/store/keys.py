"""The name of a protein inside an HDF5 or NPZ file: its id, where the id can be a name.

`file[id]` works for every id that occurs once, save these: `/`, `\\`, space and NUL would make paths or end names
early, so they are written %2F, %5C, %20, %00, as are bytes that are not UTF-8, a `%` that two capital hexadecimal
digits follow or that ends the id, the first letter of `.`, `..` and of the names this project uses itself, and the
dot of a final `.npy`. The second protein of an id is named `id #2`, the third `id #3`. `id_of_key` undoes all of it.
"""

import re
from collections.abc import Callable

from openankh.errors import UserError

RESERVED = ("ids", "lengths", "provenance")
MAX_KEY_BYTES = 60_000
_UNSAFE = re.compile(r"[/\\\x00 \udc80-\udcff]|%(?=[0-9A-F]{2})|%\Z")
_REPEAT = re.compile(r" #[0-9]+\Z")


def key_of_id(protein_id: str) -> str:
    """The name of the first protein of this id; different ids have different names."""
    key = _UNSAFE.sub(lambda found: _escaped(found[0]), protein_id)
    if key.endswith(".npy"):
        key = key.removesuffix(".npy") + "%2Enpy"
    if key in (".", "..", *RESERVED):
        key = _escaped(key[0]) + key[1:]
    return key or "%"


def id_of_key(key: str) -> str:
    """The id of the protein so named."""
    key = _REPEAT.sub("", key)
    return "" if key == "%" else re.sub("%([0-9A-F]{2})", lambda found: _unescaped(found[1]), key)


class KeyMaker:
    """Names proteins one after the other; `is_taken` says whether the file already has a name."""

    def __init__(self, is_taken: Callable[[str], bool]) -> None:
        self._is_taken = is_taken
        self._num_seen: dict[str, int] = {}

    def next(self, protein_id: str) -> str:
        """The name of the next protein; UserError for an id longer than these formats can name."""
        key = key_of_id(protein_id)
        if len(key.encode()) > MAX_KEY_BYTES:
            raise UserError(
                f"an id of {len(protein_id):,} characters ({protein_id[:40]!r}…) is too long a name in this format; "
                "write a folder or .parquet instead"
            )
        if not self._is_taken(key):
            return key
        self._num_seen[key] = self._num_seen.get(key, 1) + 1
        return f"{key} #{self._num_seen[key]}"


def text_of_id(protein_id: str) -> str:
    """The id itself where it is text without NUL, else its name: what formats that know only text can hold."""
    is_text = "\0" not in protein_id and not re.search("[\ud800-\udfff]", protein_id)
    return protein_id if is_text else key_of_id(protein_id)


def _escaped(letter: str) -> str:
    return f"%{ord(letter) & 0xFF:02X}"


def _unescaped(digits: str) -> str:
    byte = int(digits, 16)
    return chr(byte if byte < 0x80 else 0xDC00 + byte)
