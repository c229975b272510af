"""The manifest of an embedding store: what its shards are, their hashes, and what made them.

Layout of a store, one folder:

    manifest.json                   written last: a folder without it is not a store
    ids.safetensors                 see `openankh.store.id_index`
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
from openankh.json_file import parse_json_object, read_limited
from openankh.store.id_index import INDEX_NAME, IndexEntry
from openankh.store.provenance import Provenance, parse_provenance
from openankh.store.shard import ShardEntry, shard_name

MANIFEST_NAME = "manifest.json"
FORMAT = "openankh-embeddings"
VERSION = 2
_READABLE = (1, VERSION)
_AGAIN = "embed again, or copy the store again"

_MAX_BYTES = 32 << 20
"""150,000 shards: at 200,000 residues each more than all of UniRef50."""
_COUNT_LIMIT = 1 << 62


@dataclass(frozen=True)
class Manifest:
    """All that is known of a store before a shard is opened; `index` is None in stores of the first version."""

    provenance: Provenance
    shards: tuple[ShardEntry, ...]
    index: IndexEntry | None = None
    version: int = VERSION

    @property
    def num_records(self) -> int:
        """Proteins of all shards."""
        return sum(shard.num_records for shard in self.shards)

    @property
    def num_residues(self) -> int:
        """Residues of all proteins."""
        return sum(shard.num_residues for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.size for entry in (*self.shards, *([self.index] if self.index else [])))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, the mark of a complete store: call it when every shard is on disk."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "num_records": manifest.num_records,
        "num_residues": manifest.num_residues,
        "provenance": manifest.provenance.to_json(),
        "index": None if manifest.index is None else asdict(manifest.index),
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
    content = _read_content(path)
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
        return _parse(content)
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"{path}: malformed ({error}); {_AGAIN}") from None


def manifest_format(path: Path) -> object:
    """What a `manifest.json` says it is the manifest of; UserError when it is no JSON object of a manifest's make."""
    return _read_content(path).get("format")


def parse_shards(content: Sequence[Mapping[str, Any]]) -> tuple[ShardEntry, ...]:
    """Shard entries from JSON; names are fixed by the layout, so that a manifest never points outside its folder."""
    entries = tuple(ShardEntry(**entry) for entry in content)
    for number, entry in enumerate(entries):
        counts = (entry.size, entry.num_records, entry.num_residues)
        if entry.name != shard_name(number) or not all(map(_is_count, counts)) or not isinstance(entry.sha256, str):
            raise UserError(f"the entry of shard {number}")
    return entries


def _read_content(path: Path) -> dict[str, Any]:
    """The JSON object of a manifest, which may be large but never dense: no small text then fills the memory."""
    content = read_limited(path, _MAX_BYTES)
    num_values = sum(content.count(mark) for mark in (b"[", b"{", b","))
    if num_values > 10_000 + len(content) // 24:
        raise UserError(f"{path}: not a manifest (too many values for its size); {_AGAIN}")
    return parse_json_object(content, path)


def _parse(content: Mapping[str, Any]) -> Manifest:
    index = content.get("index")
    entry = None if index is None else IndexEntry(**index)
    if entry is not None and (entry.name != INDEX_NAME or not _is_count(entry.size)):
        raise UserError("the entry of the index")
    version = content["version"]
    manifest = Manifest(parse_provenance(content["provenance"]), parse_shards(content["shards"]), entry, version)
    if (content["num_records"], content["num_residues"]) != (manifest.num_records, manifest.num_residues):
        raise UserError("counts that are not the shards' together")
    return manifest


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 < value < _COUNT_LIMIT


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
