"""The journal of an unfinished embedding store: which shards are safely on disk, so that a later run goes on after.

One JSON object a line, only ever appended to: first the provenance and the shard limits, then each shard when it is
durable. A killed writer leaves at most a torn last line, which is dropped.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.store.manifest import FORMAT, VERSION, parse_shards
from openankh.store.provenance import Provenance, parse_provenance
from openankh.store.shard import ShardEntry

JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True)
class ShardLimits:
    """A shard is closed with the batch that reaches either limit; residues bound the work a killed run repeats."""

    num_bytes: int = 64 << 20
    num_residues: int = 200_000


Begun = tuple[Provenance, ShardLimits, tuple[ShardEntry, ...]]
"""What an unfinished store was begun with, and its shards that are whole."""


class Journal:
    """The acknowledged shards of one store being written in `folder`."""

    def __init__(self, folder: Path, provenance: Provenance, limits: ShardLimits, shards: Iterable[ShardEntry]) -> None:
        self.path = folder / JOURNAL_NAME
        self.provenance = provenance
        self.limits = limits
        self.shards = list(shards)
        self._rewrite()

    @property
    def num_records(self) -> int:
        """Proteins that are safely on disk."""
        return sum(shard.num_records for shard in self.shards)

    @property
    def num_residues(self) -> int:
        """Residues that are safely on disk."""
        return sum(shard.num_residues for shard in self.shards)

    def acknowledge(self, shard: ShardEntry) -> None:
        """Add a shard that is durable; when this returns, so is the acknowledgement."""
        with open(self.path, "ab") as file:
            file.write(_line(asdict(shard)))
            file.flush()
            os.fsync(file.fileno())
        self.shards.append(shard)

    def remove(self) -> None:
        """Remove the journal of a store that is finished."""
        self.path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        header = {"format": FORMAT, "version": VERSION}
        header |= {"provenance": self.provenance.to_json(), "limits": asdict(self.limits)}
        write_file_atomically(self.path, b"".join([_line(header), *(_line(asdict(shard)) for shard in self.shards)]))


def read_journal(folder: Path) -> Begun | None:
    """What an unfinished store in `folder` was begun with, and its shards that are whole; None when none is there.

    Raises UserError for a journal that this version cannot read.
    """
    path = folder / JOURNAL_NAME
    if not path.is_file():
        return None
    lines = _parse_lines(path.read_bytes())
    try:
        header = lines[0]
        if (header["format"], header["version"]) != (FORMAT, VERSION):
            raise UserError(f"format {header['format']!r} {header['version']!r}")
        provenance, limits = parse_provenance(header["provenance"]), ShardLimits(**header["limits"])
        if not all(isinstance(limit, int) for limit in asdict(limits).values()):
            raise UserError("limits that are not numbers")
        return provenance, limits, _whole(folder, parse_shards(lines[1:]))
    except (IndexError, KeyError, TypeError, UserError) as error:
        reason = f"not a journal this openankh can continue ({error})"
        raise UserError(f"{path}: {reason}; add --overwrite to begin again") from None


def _parse_lines(content: bytes) -> list[dict[str, Any]]:
    """The objects of all whole lines, up to the first that is not one."""
    objects: list[dict[str, Any]] = []
    for line in content.split(b"\n")[:-1]:
        try:
            objects.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return objects


def _whole(folder: Path, shards: tuple[ShardEntry, ...]) -> tuple[ShardEntry, ...]:
    """The shards up to the first that is missing or has another size; what follows is embedded again."""
    for number, shard in enumerate(shards):
        path = folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.size:
            return shards[:number]
    return shards


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
