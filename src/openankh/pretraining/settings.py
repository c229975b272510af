"""Settings changed by `key=value`, dots leading inside frozen values; a mistyped key or value names the nearest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from openankh.errors import UserError

T = TypeVar("T")


def changed(value: T, changes: Sequence[str]) -> T:
    """A frozen value with changes such as `packing.crop=256`, all applied at once, so that their order is free.

    Raises UserError for an unknown key, naming the nearest, and for a text that is no value of the setting's kind.
    """
    tree: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} is not a setting; write key=value, such as seed=1")
        *groups, name = _path(value, key)
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = _parsed(text, _kind(value, [*groups, name]), key)
    return _grafted(value, tree)


def setting_values(value: Any) -> dict[str, Any]:
    """All settings inside a frozen value by their dotted names."""
    values: dict[str, Any] = {}
    for name, inner in _parts(value).items():
        if _has_parts(inner):
            values |= {f"{name}.{deeper}": leaf for deeper, leaf in setting_values(inner).items()}
        else:
            values[name] = inner
    return values


def nearest(name: str, legal: Sequence[str], cutoff: float = 0.6) -> str:
    """` (did you mean …?)`, or nothing where no legal name is as similar as `cutoff` (0 to 1)."""
    close = get_close_matches(name, legal, n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _has_parts(value: Any) -> bool:
    """A frozen value has fields; a tuple of frozen values has numbers, from 0, for names."""
    return is_dataclass(value) or (isinstance(value, tuple) and any(is_dataclass(part) for part in value))


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {str(number): part for number, part in enumerate(value)}
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _path(value: Any, key: str) -> list[str]:
    legal = list(setting_values(value))
    if key in legal:
        return key.split(".")
    if parts := [name for name in legal if name.startswith(key + ".")]:
        raise UserError(f"setting {key!r} has parts; give one of them: {', '.join(parts)}")
    same_leaf = [name for name in legal if name.rpartition(".")[2] == key.rpartition(".")[2]]
    hint = nearest(key, same_leaf, cutoff=0.0) or nearest(key, legal)
    raise UserError(f"no setting {key!r}{hint}; `openankh pretrain RECIPE --settings` shows all")


def _kind(value: Any, path: Sequence[str]) -> Any:
    for group in path[:-1]:
        value = _parts(value)[group]
    return get_type_hints(type(value))[path[-1]]


def _grafted(value: T, tree: Mapping[str, Any]) -> T:
    inner = _parts(value)
    new = {name: _grafted(inner[name], part) if _has_parts(inner[name]) else part for name, part in tree.items()}
    if isinstance(value, tuple):
        return tuple((inner | new).values())  # type: ignore[return-value]
    return replace(value, **new) if new else value  # type: ignore[type-var]


def _parsed(text: str, kind: Any, key: str) -> Any:
    """`text` as a value of the annotated kind."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
        return None if text.lower() in ("none", "null") else _parsed(text, kind, key)
    if get_origin(kind) is Literal:
        legal = [str(option) for option in get_args(kind)]
        if text not in legal:
            raise UserError(f"setting {key}={text}{nearest(text, legal)}: give one of {', '.join(legal)}")
        return text
    if get_origin(kind) is tuple:
        parts, kinds = text.strip("()[]").split(","), get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(parts)
        if len(parts) != len(kinds):
            raise UserError(f"setting {key}={text}: give {len(kinds)} values with commas between them")
        return tuple(_parsed(part.strip(), inner, key) for part, inner in zip(parts, kinds, strict=True))
    return _parsed_single(text, kind, key)


def _parsed_single(text: str, kind: type, key: str) -> Any:
    if kind is str:
        return text
    told = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"setting {key}={text}: give {told}") from None
    if kind is float and math.isnan(value):
        raise UserError(f"setting {key}={text}: give {told}")
    return value
