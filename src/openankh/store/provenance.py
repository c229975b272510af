"""What decides the numbers of an embedding file: input, model, precision, states, layers, pooling, type, prefix."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from openankh.errors import UserError
from openankh.precision import PRECISIONS, Precision

Dtype = Literal["fp32", "fp16", "bf16"]
Pool = Literal["mean", "max", "residues"]
States = Literal["encoder", "decoder"]

DTYPES: tuple[Dtype, ...] = ("fp32", "fp16", "bf16")
RESULTS: dict[Precision, Dtype] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "int8": "bf16"}
"""The type that holds what was computed in a precision."""

POOLS: tuple[Pool, ...] = ("mean", "max", "residues")
STATES: tuple[States, ...] = ("encoder", "decoder")


@dataclass(frozen=True)
class Provenance:
    """Two embedding files of equal provenance hold the same numbers.

    `input_sha256` is over ids and sequences as embedded, whatever their wrapping or compression; None while reading a
    stream that cannot be read twice. `model` is for people: `model_sha256` tells models apart. `precision` is how the
    network computed (`auto`: not recorded), `dtype` the type its results were rounded to. `layers` of the encoder or
    decoder (`states`), each counted from 0 (the embedded input), in the order kept; `prefix` is a piece such as
    `[NLU]`, or empty; `width` is the number of columns.
    """

    input_sha256: str | None
    model: str
    model_sha256: str
    precision: Precision
    dtype: Dtype
    states: States
    layers: tuple[int, ...]
    pool: Pool
    prefix: str
    width: int

    def __post_init__(self) -> None:
        assert self.layers, "no layer"

    @property
    def is_per_residue(self) -> bool:
        """Whether a protein has one row a residue, rather than one row, of each layer."""
        return self.pool == "residues"

    @property
    def num_layers(self) -> int:
        """How many layers were kept: K."""
        return len(self.layers)

    def of_input(self, input_sha256: str) -> "Provenance":
        """The same with the input's hash filled in."""
        return replace(self, input_sha256=input_sha256)

    def shape_of(self, length: int) -> tuple[int, ...]:
        """Shape of the array of a protein of `length` residues: (L, D) or (D,); of K > 1 layers (K, L, D) or (K, D)."""
        rows = (length, self.width) if self.is_per_residue else (self.width,)
        return rows if self.num_layers == 1 else (self.num_layers, *rows)

    def num_rows(self, num_records: int, num_residues: int) -> int:
        """Rows of D numbers that so many proteins with so many residues together take; a protein's layers follow one
        another.
        """
        return self.num_layers * (num_residues if self.is_per_residue else num_records)

    def differences(self, other: "Provenance") -> Iterator[tuple[str, Any, Any]]:
        """(field, here, there) for every field that would make other numbers."""
        for field in fields(self):
            here, there = getattr(self, field.name), getattr(other, field.name)
            if field.name != "model" and here != there:
                yield field.name, here, there

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as JSON holds them."""
        return {**asdict(self), "layers": list(self.layers)}


def parse_provenance(content: Mapping[str, Any]) -> Provenance:
    """The provenance that a JSON object holds, of this version or the first; UserError when a field is missing, unknown
    or of the wrong kind.
    """
    if not isinstance(content, Mapping):
        raise UserError("a provenance that is not an object")
    content = _of_this_version(content)
    expected = {field.name for field in fields(Provenance)}
    if set(content) != expected:
        raise UserError(f"fields {sorted(content)} where {sorted(expected)} are expected")
    layers = content["layers"]
    if not isinstance(layers, list | tuple) or not layers or not all(map(_is_count, (*layers, content["width"]))):
        raise UserError(f"layers {layers!r} of width {content['width']!r}, not counts")
    if not all(isinstance(content[name], str) for name in ("model", "model_sha256", "prefix")):
        raise UserError("a model or prefix that is not text")
    if not isinstance(content["input_sha256"], str | None):
        raise UserError("an input_sha256 that is not text")
    legal = {"dtype": DTYPES, "pool": POOLS, "precision": PRECISIONS, "states": STATES}
    for name, values in legal.items():
        if content[name] not in values:
            raise UserError(f"{name} {content[name]!r}")
    return Provenance(**{**content, "layers": tuple(layers)})


def _of_this_version(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first version kept one layer of the encoder, and did not say in which precision fp16 had been computed."""
    if "layer" not in content:
        return content
    precision = content.get("dtype") if content.get("dtype") != "fp16" else "auto"
    others = {name: value for name, value in content.items() if name != "layer"}
    return {**others, "layers": [content["layer"]], "precision": precision, "states": "encoder"}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0
