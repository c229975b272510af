"""The manifest of an embedding store: what its shards are, their hashes, and what made them.

Layout of a store, one folder:

    manifest.json                   written last: a folder without it is not a store
    shard-000000.safetensors        see `openankh.store.shard`
    shard-000001.safetensors
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.store.provenance import Provenance, parse_provenance
from openankh.store.shard import ShardEntry, shard_name

MANIFEST_NAME = "manifest.json"
FORMAT = "openankh-embeddings"
VERSION = 2
_READABLE = (1, VERSION)
_AGAIN = "embed again, or copy the store again"


@dataclass(frozen=True)
class Manifest:
    """All that is known of a store before a shard is opened."""

    provenance: Provenance
    shards: tuple[ShardEntry, ...]

    @property
    def num_records(self) -> int:
        """Proteins of all shards."""
        return sum(shard.num_records for shard in self.shards)

    @property
    def num_residues(self) -> int:
        """Residues of all proteins."""
        return sum(shard.num_residues for shard in self.shards)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, the mark of a complete store: call it when every shard is on disk."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "num_records": manifest.num_records,
        "num_residues": manifest.num_residues,
        "provenance": manifest.provenance.to_json(),
        "shards": [asdict(shard) for shard in manifest.shards],
    }
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n"
    write_file_atomically(folder / MANIFEST_NAME, text)


def read_manifest(folder: Path) -> Manifest:
    """Read and check a store's manifest; UserError for anything that is not one, whole and unchanged."""
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        what = "a file, not an embedding store" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what}; make a store with openankh embed IN.fasta -o FOLDER")
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST_NAME}, so not an embedding store, or one not finished; {_AGAIN}")
    content = read_json_object(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: not the manifest of an embedding store; give the folder that openankh embed wrote")
    if content.get("version") not in _READABLE:
        raise UserError(
            f"{folder}: embedding store of format {content.get('version')!r}, this openankh reads {VERSION}; "
            "upgrade openankh or embed again"
        )
    if content.pop("checksum", None) != _checksum(content):
        raise UserError(f"{path}: changed since it was written (its checksum differs); {_AGAIN}")
    try:
        return Manifest(parse_provenance(content["provenance"]), parse_shards(content["shards"]))
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"{path}: malformed ({error}); {_AGAIN}") from None


def parse_shards(content: Sequence[Mapping[str, Any]]) -> tuple[ShardEntry, ...]:
    """Shard entries from JSON; names are fixed by the layout, so that a manifest never points outside its folder."""
    entries = tuple(ShardEntry(**entry) for entry in content)
    for number, entry in enumerate(entries):
        counts = (entry.size, entry.num_records, entry.num_residues)
        if entry.name != shard_name(number) or not all(isinstance(count, int) and count > 0 for count in counts):
            raise UserError(f"shard {number} is {entry!r}")
    return entries


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
