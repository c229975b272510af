"""Answers in the form a client asks for: JSON, safetensors or NPZ, made outside of the event loop, piece by piece."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import save

from openankh.serve.problems import Problem

Form = Literal["json", "safetensors", "npz"]

MEDIA_TYPES: Mapping[Form, str] = {
    "json": "application/json",
    "safetensors": "application/vnd.safetensors",
    "npz": "application/x-npz",
}
_FORMS: Mapping[str, Form] = {
    "*/*": "json",
    "application/*": "json",
    "application/json": "json",
    "application/vnd.safetensors": "safetensors",
    "application/x-safetensors": "safetensors",
    "application/x-npz": "npz",
    "application/npz": "npz",
}
_MOST_ACCEPTED = 32


class Answer(Protocol):
    """The result of a piece of work."""

    @property
    def num_numbers(self) -> int:
        """How many numbers it holds, about."""
        ...

    def json_parts(self) -> Iterator[bytes]:
        """It as JSON, in pieces that take little time each."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]] | None:
        """It as named arrays; None where it is no numbers."""
        ...

    def facts(self) -> Mapping[str, str]:
        """What stands beside the arrays."""
        ...


@dataclass(frozen=True, eq=False)
class Plain:
    """An answer that is a small JSON object."""

    content: Mapping[str, Any]
    size: int = 0

    @property
    def num_numbers(self) -> int:
        """How many numbers it holds, about."""
        return self.size

    def json_parts(self) -> Iterator[bytes]:
        """The object."""
        yield orjson.dumps(self.content, option=orjson.OPT_SERIALIZE_NUMPY)

    def arrays(self) -> None:
        """None: it has no binary form."""
        return None

    def facts(self) -> Mapping[str, str]:
        """Nothing."""
        return {}


@dataclass(frozen=True, eq=False)
class RowsAnswer:
    """An answer that is one object a protein, the same keys in each: `head` comes before the list named `name`.

    `rows` may hold numpy arrays; of those under `array` the binary forms are made, named by the protein's number.
    """

    head: Mapping[str, Any]
    name: str
    rows: Sequence[Mapping[str, Any]]
    array: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_numbers(self) -> int:
        """How many numbers it holds, about."""
        return sum(np.size(row[self.array]) for row in self.rows) if self.array else len(self.rows)

    def json_parts(self) -> Iterator[bytes]:
        """The head, then row by row."""
        head = orjson.dumps(self.head)[:-1]
        yield head + (b"," if self.head else b"") + orjson.dumps(self.name) + b":["
        for number, row in enumerate(self.rows):
            yield (b"," if number else b"") + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
        yield b"]}"

    def arrays(self) -> Mapping[str, NDArray[Any]] | None:
        """The arrays by the number of their protein, from 0."""
        if self.array is None:
            return None
        return {str(number): np.ascontiguousarray(row[self.array]) for number, row in enumerate(self.rows)}

    def facts(self) -> Mapping[str, str]:
        """Ids in order, as JSON, and what the server said of the arrays."""
        ids = orjson.dumps([row["id"] for row in self.rows]).decode()
        return {"ids": ids, **{name: str(value) for name, value in self.head.items()}, **self.texts}


@dataclass(frozen=True, eq=False)
class ArraysAnswer:
    """An answer that is some arrays by name, of two axes each, and what stands before them."""

    head: Mapping[str, Any]
    named: Mapping[str, NDArray[Any]]

    @property
    def num_numbers(self) -> int:
        """How many numbers it holds."""
        return sum(array.size for array in self.named.values())

    def json_parts(self) -> Iterator[bytes]:
        """The head, then the arrays row by row."""
        yield orjson.dumps(self.head)[:-1]
        for name, array in self.named.items():
            yield b"," + orjson.dumps(name) + b":["
            for number, row in enumerate(array):
                yield (b"," if number else b"") + orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
            yield b"]"
        yield b"}"

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The arrays."""
        return self.named

    def facts(self) -> Mapping[str, str]:
        """The head."""
        return {name: str(value) for name, value in self.head.items()}


def wanted_form(accept: str | None) -> Form:
    """What an `Accept` header asks for, JSON where it says nothing; Problem 406 for what there is not."""
    if not accept:
        return "json"
    ranked: list[tuple[float, Form]] = []
    for part in accept.split(",")[:_MOST_ACCEPTED]:
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind in _FORMS and (weight := _weight(parameters)) > 0:
            ranked.append((weight, _FORMS[kind]))
    if not ranked:
        raise Problem(406, f"there is {', '.join(MEDIA_TYPES.values())}; name one of them in Accept")
    return max(ranked, key=lambda each: each[0])[1]


def rendered(answer: Answer, form: Form, json_numbers: int) -> bytes:
    """The bytes of an answer. Problem 422 for too many numbers as text, 406 for binary where there is none."""
    if form == "json":
        if answer.num_numbers > json_numbers:
            raise Problem(
                422,
                f"{answer.num_numbers:,} numbers are too many for JSON, {json_numbers:,} are the most; ask with Accept "
                f"for {MEDIA_TYPES['safetensors']} or {MEDIA_TYPES['npz']}, or send fewer proteins",
            )
        return b"".join(answer.json_parts())
    arrays = answer.arrays()
    if arrays is None:
        raise Problem(406, "this answer is JSON alone; leave Accept out")
    if form == "safetensors":
        return save(dict(arrays), dict(answer.facts()))
    file = io.BytesIO()
    texts = {name: np.array(text) for name, text in answer.facts().items()}
    np.savez(file, allow_pickle=False, **arrays, **texts)
    return file.getvalue()


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
