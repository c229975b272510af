"""A small JSON file that somebody else wrote: read with limits, so that no file can hang or crash the reader."""

import json
from pathlib import Path
from typing import Any

from openankh.errors import UserError

MAX_JSON_BYTES = 4 << 20
"""Ten times what a protein model's files need, and little enough that no content fills the memory when parsed."""


def read_json_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object (key to value) that a JSON file holds.

    Raises UserError for a file that is missing, larger than `max_bytes`, not UTF-8 JSON, nested too deeply, or that
    holds something else than an object.
    """
    return parse_json_object(read_limited(path, max_bytes), path)


def parse_json_object(content: bytes, source: Path) -> dict[str, Any]:
    """The object that the bytes read from `source` hold; raises as `read_json_object`."""
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise UserError(f"{source}: nested too deeply to be read; fetch the file again") from None
    except ValueError as error:  # bad UTF-8, bad JSON, or a number of thousands of digits
        raise UserError(f"{source}: not valid JSON ({_one_line(error)}); fetch the file again") from None
    if not isinstance(value, dict):
        raise UserError(f"{source}: holds a {type(value).__name__} where a JSON object is expected")
    return value


def read_limited(path: Path, max_bytes: int) -> bytes:
    """All bytes of a plain file of at most `max_bytes`; UserError when it is missing, larger or unreadable."""
    require_plain_file(path)
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    if len(content) > max_bytes:
        raise UserError(f"{path}: larger than {max_bytes:,} bytes, more than such a file can hold; fetch it again")
    return content


def require_plain_file(path: Path) -> None:
    """Raise UserError unless `path` is a file or a link to one (a pipe would block the reader for ever)."""
    if path.is_file():
        return
    if path.exists():
        raise UserError(f"cannot read {path}: it is not a plain file")
    raise UserError(f"cannot read {path}: no such file")


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())[:120]
