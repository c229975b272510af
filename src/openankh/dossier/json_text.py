"""Dossiers as JSON and back: one text for the page, its `.json` twin and the command."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from openankh.dossier.dossier import VERSION
from openankh.errors import UserError

Value = TypeVar("Value")


def to_json(value: Any) -> bytes:
    """A dossier or overview as JSON, one line: ASCII alone, no NaN, numbers of up to six digits."""
    return json.dumps(plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    """Frozen values as what JSON knows, numbers rounded to six digits, and None for one that is not finite."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") + 0.0 if math.isfinite(value) else None
    return value


def from_json(kind: type[Value], text: bytes) -> Value:
    """The dossier or overview that `to_json` wrote; UserError for one of another version, or damaged."""
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise UserError(f"a result of version {found['version']!r}, where {VERSION} is read; compute it again")
        return _read(kind, found)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"a damaged result ({type(error).__name__}); compute it again") from None


def _read(kind: Any, found: Any) -> Any:
    """The value of this type that JSON holds."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _read(hint, found[name]) for name, hint in hints.items()})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        chosen = next((each for each in inner if dataclasses.is_dataclass(each)), None)
        return found if chosen is None or found is None else _read(chosen, found)
    if origin is tuple:
        kinds = [inner[0]] * len(found) if inner[-1] is Ellipsis else inner
        return tuple(_read(each, item) for each, item in zip(kinds, found, strict=True))
    return dict(found) if origin is Mapping else found
