"""Where workers leave the shards they have made, for the one who puts the store together to take them up."""

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Protocol

from openankh.errors import UserError
from openankh.files import unwritable_named
from openankh.store import Provenance
from openankh.store.shard import ShardContent, ShardEntry, shard_name, write_shard

ATTEMPT = "attempt-"


def attempt_name(number: int, before: int) -> str:
    """The name of the note that a worker begins with a part, of which so many others have been written."""
    return f"{ATTEMPT}{number:06d}-{before}"


@dataclass(frozen=True)
class Incidents:
    """What went otherwise than a user would think: proteins that had the sequence of another and were not computed,
    those computed again since fp16 did not hold them, how often memory ran out, and the fewest tokens computed at once.
    """

    records_reused: int = 0
    residues_reused: int = 0
    records_overflowed: int = 0
    num_halvings: int = 0
    max_tokens: int | None = None

    def since(self, before: "Incidents") -> "Incidents":
        """What came after."""
        return Incidents(
            self.records_reused - before.records_reused,
            self.residues_reused - before.residues_reused,
            self.records_overflowed - before.records_overflowed,
            self.num_halvings - before.num_halvings,
            self.max_tokens,
        )

    def and_then(self, later: "Incidents") -> "Incidents":
        """Both together."""
        tokens = [each.max_tokens for each in (self, later) if each.max_tokens is not None]
        return Incidents(
            self.records_reused + later.records_reused,
            self.residues_reused + later.residues_reused,
            self.records_overflowed + later.records_overflowed,
            self.num_halvings + later.num_halvings,
            min(tokens, default=None),
        )


@dataclass(frozen=True)
class Landed:
    """A shard that is durable: the part it holds, what the manifest will say of it, the name it has until then, and
    what happened on the way.
    """

    number: int
    first: int
    entry: ShardEntry
    name: str
    incidents: Incidents = Incidents()


class Landing(Protocol):
    """A place that workers write to; a value that travels to them."""

    def land(self, number: int, first: int, content: ShardContent, provenance: Provenance) -> Landed:
        """Write the shard of a part, whole or not at all."""
        ...

    def attempt(self, number: int) -> int:
        """Note down that a worker begins with a part; says how many had begun with it before."""
        ...


@dataclass(frozen=True)
class FolderLanding:
    """A folder that all workers see. A shard keeps a name of its own until it is taken up, so that two workers with the
    same part, or one that outlives its run, never write to one name.
    """

    folder: str

    def land(self, number: int, first: int, content: ShardContent, provenance: Provenance) -> Landed:
        """Write the shard of a part, whole or not at all."""
        name = f"landed-{uuid.uuid4().hex}.safetensors"
        entry = write_shard(Path(self.folder) / name, content, provenance)
        return Landed(number, first, replace(entry, name=shard_name(number)), name)

    def attempt(self, number: int) -> int:
        """Note down that a worker begins with a part; says how many had begun with it before."""
        folder = Path(self.folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: not on {os.uname().nodename}; give a folder that all machines see, or a URL")
        for before in count():
            path = folder / attempt_name(number, before)
            with unwritable_named(path), suppress(FileExistsError):
                path.touch(exist_ok=False)
                return before
        raise AssertionError("count() never ends")
