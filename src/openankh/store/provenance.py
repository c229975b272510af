"""What decides the numbers of an embedding file: input, model, precision, pooling, layer, prefix."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from openankh.errors import UserError

Dtype = Literal["fp32", "fp16", "bf16"]
Pool = Literal["mean", "max", "residues"]

DTYPES: tuple[Dtype, ...] = ("fp32", "fp16", "bf16")
POOLS: tuple[Pool, ...] = ("mean", "max", "residues")


@dataclass(frozen=True)
class Provenance:
    """Two embedding files of equal provenance hold the same numbers.

    `input_sha256` is over ids and sequences as embedded, whatever their wrapping or compression; None while reading a
    stream that cannot be read twice. `layer` counts from 0 (the embedded input); `prefix` is a piece such as `[NLU]`,
    or empty; `width` is the number of columns. `model` is for people: `model_sha256` tells models apart.
    """

    input_sha256: str | None
    model: str
    model_sha256: str
    dtype: Dtype
    pool: Pool
    layer: int
    prefix: str
    width: int

    @property
    def is_per_residue(self) -> bool:
        """Whether a protein has one row a residue rather than one row."""
        return self.pool == "residues"

    def of_input(self, input_sha256: str) -> "Provenance":
        """The same with the input's hash filled in."""
        return replace(self, input_sha256=input_sha256)

    def shape_of(self, length: int) -> tuple[int, ...]:
        """Shape of the array of a protein of `length` residues: (L, D) or (D,)."""
        return (length, self.width) if self.is_per_residue else (self.width,)

    def num_rows(self, num_records: int, num_residues: int) -> int:
        """Rows that so many proteins with so many residues together take."""
        return num_residues if self.is_per_residue else num_records

    def differences(self, other: "Provenance") -> Iterator[tuple[str, Any, Any]]:
        """(field, here, there) for every field that would make other numbers."""
        for field in fields(self):
            here, there = getattr(self, field.name), getattr(other, field.name)
            if field.name != "model" and here != there:
                yield field.name, here, there

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as JSON holds them."""
        return asdict(self)


def parse_provenance(content: Mapping[str, Any]) -> Provenance:
    """The provenance that a JSON object holds; UserError when a field is missing, unknown or of the wrong kind."""
    expected = {field.name for field in fields(Provenance)}
    if set(content) != expected:
        raise UserError(f"fields {sorted(content)} where {sorted(expected)} are expected")
    for name in ("layer", "width"):
        if not isinstance(content[name], int) or content[name] < 0:
            raise UserError(f"{name} is {content[name]!r}, not a count")
    if content["dtype"] not in DTYPES or content["pool"] not in POOLS:
        raise UserError(f"dtype {content['dtype']!r} with pool {content['pool']!r}")
    return Provenance(**content)
