"""Receipts: which shard of an unfinished store is whole, and which records of the input it holds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from openankh.errors import UserError
from openankh.store.shard import ShardEntry, shard_name

_SUFFIX = ".json"


@dataclass(frozen=True)
class Receipt:
    """A shard that was taken up, and the place of its first record in the input."""

    first: int
    entry: ShardEntry

    def is_for(self, first: int, num_records: int, num_residues: int) -> bool:
        """Whether the shard holds these records."""
        return (self.first, self.entry.num_records, self.entry.num_residues) == (first, num_records, num_residues)

    def to_json(self) -> str:
        """As a file beside the shard holds it."""
        return json.dumps({"first": self.first, **asdict(self.entry)}) + "\n"


def receipt_name(number: int) -> str:
    """The file name of the receipt of a shard."""
    return shard_name(number) + _SUFFIX


def number_of(name: str) -> int | None:
    """The number of the shard whose receipt has this file name, None for other files."""
    digits = name.removeprefix("shard-").split(".")[0]
    return int(digits) if digits.isdecimal() and name == receipt_name(int(digits)) else None


def parse_receipt(text: bytes, number: int) -> Receipt | None:
    """The receipt that a file holds, None for what is none of this shard."""
    try:
        content: Mapping[str, Any] = json.loads(text)
        facts = {name: value for name, value in content.items() if name != "first"}
        receipt = Receipt(int(content["first"]), ShardEntry(**facts))
    except (ValueError, TypeError, KeyError):
        return None
    return receipt if receipt.entry.name == shard_name(number) else None


def chain(receipts: Mapping[int, Receipt], place: str) -> tuple[ShardEntry, ...]:
    """All shards in order; UserError when between two of them records are missing or come twice."""
    shards: list[ShardEntry] = []
    num_records = 0
    for number in range(len(receipts)):
        receipt = receipts.get(number)
        if receipt is None or receipt.first != num_records:
            raise UserError(f"{place}: its shards do not follow one another at {shard_name(number)}; add --overwrite")
        shards.append(receipt.entry)
        num_records += receipt.entry.num_records
    return tuple(shards)
