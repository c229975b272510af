"""Where a model comes from, and `openankh.json`: the sealed list of a model folder's files with their hashes."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from openankh import __version__
from openankh.errors import UserError
from openankh.files import sha256_of
from openankh.json_file import parse_json_object, read_limited, require_plain_file

Kind = TypeVar("Kind")

MANIFEST_NAME = "openankh.json"
_FORMAT, _VERSION = "openankh-model", 1
_MAX_BYTES = 4 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_FETCH = "fetch or save the model again"


@dataclass(frozen=True)
class Provenance:
    """What is told of a model beside its weights: name, licence (SPDX), the writing version, facts of its training.

    `training` holds whatever the trainer wants to record, as JSON values; `source` is where the weights came from, for
    a model of the hub `ORGANISATION/NAME@COMMIT`.
    """

    name: str = ""
    licence: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = __version__
    source: str = ""


@dataclass(frozen=True)
class FileFact:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of `openankh.json`."""

    provenance: Provenance
    num_parameters: int
    dtype: str
    files: Mapping[str, FileFact]


def write_manifest(folder: Path, provenance: Provenance, num_parameters: int, dtype: str) -> Manifest:
    """Write `openankh.json` over all other files of the folder; call it last."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST_NAME)
    files = {path.name: FileFact(path.stat().st_size, sha256_of(path)) for path in paths}
    manifest = Manifest(provenance, num_parameters, dtype, files)
    (folder / MANIFEST_NAME).write_bytes(_render(_to_json(manifest)))
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's `openankh.json`, or None for a folder that other software wrote.

    Raises UserError when it was changed after it was written, by whatever: its bytes are sealed by their own hash.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    content = read_limited(path, _MAX_BYTES)
    value = parse_json_object(content, path)
    seal = value.pop("seal", None)
    if value.get("format") != _FORMAT or seal != _seal_of(value) or _render({**value, "seal": seal}) != content:
        raise UserError(f"{path}: damaged or edited after it was written (its seal does not fit); {_FETCH}")
    if value.get("version") != _VERSION:
        raise UserError(f"{path}: written in version {value.get('version')} of the format; upgrade openankh to read it")
    try:
        return _from_json(value)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not as openankh writes it ({type(error).__name__}: {error}); {_FETCH}") from None


def check_files(folder: Path, manifest: Manifest, hashes: bool = True, unread: Collection[str] = ()) -> None:
    """Raise UserError naming the first file that is missing, of another size or content, or should not be there.

    Those that are not going to be read (`unread`, and what no loader reads) may be missing, and are not looked at.
    """
    for name, fact in manifest.files.items():
        path = folder / name
        if name in unread or not (_is_read_by_loaders(name) or path.exists()):
            continue
        require_plain_file(path)
        if (size := path.stat().st_size) != fact.size:
            raise UserError(f"{path}: {size:,} bytes where {MANIFEST_NAME} says {fact.size:,}; {_FETCH}")
        if hashes and sha256_of(path) != fact.sha256:
            raise UserError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}, so it is damaged; {_FETCH}")
    for path in sorted(folder.iterdir()):
        if _is_read_by_loaders(path.name) and path.name not in manifest.files:
            raise UserError(f"{path}: not listed in {MANIFEST_NAME}, so not part of this model; remove it")


def sha256_of_model(folder: Path, manifest: Manifest | None, names: Collection[str] | None = None) -> str:
    """A hash that tells the model of a folder apart from every other, whoever saved it and wherever it lies.

    It is over the names and hashes of the files in `names` (None: all there that loaders read), in hexadecimal; without
    a manifest they are hashed first.
    """
    known = manifest.files if manifest else {}
    if names is None:
        names = known or [path.name for path in folder.iterdir() if path.is_file()]
        names = [name for name in names if _is_read_by_loaders(name)]
    hashes = {name: known[name].sha256 if name in known else _sha256_of_file(folder / name) for name in sorted(names)}
    return hashlib.sha256(json.dumps(hashes).encode("ascii")).hexdigest()


def _sha256_of_file(path: Path) -> str:
    """The hash of a file; a large one in the hub's cache is a link to a file named by its hash."""
    blob = Path(os.readlink(path)).name if path.is_symlink() else ""
    return blob if _SHA256.fullmatch(blob) else sha256_of(path)


def _is_read_by_loaders(name: str) -> bool:
    if name == MANIFEST_NAME:
        return False
    return name.endswith((".safetensors", ".index.json", ".bin", ".model")) or name in _READ_BY_LOADERS


_READ_BY_LOADERS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def _to_json(manifest: Manifest) -> dict[str, Any]:
    provenance = manifest.provenance
    value = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": provenance.name,
        "licence": provenance.licence,
        "code_version": provenance.code_version,
        "num_parameters": manifest.num_parameters,
        "dtype": manifest.dtype,
        "training": dict(provenance.training),
        **({"source": provenance.source} if provenance.source else {}),
        "files": {name: {"size": fact.size, "sha256": fact.sha256} for name, fact in manifest.files.items()},
    }
    return {**value, "seal": _seal_of(value)}


def _from_json(value: Mapping[str, Any]) -> Manifest:
    """Raises KeyError or TypeError for what `_to_json` does not make: a seal proves no author."""
    texts = [_of_type(value[key], str) for key in ("name", "licence", "code_version", "dtype")]
    name, licence, code_version, dtype = texts
    source = _of_type(value.get("source", ""), str)
    provenance = Provenance(name, licence, _of_type(value["training"], dict), code_version, source)
    files = {_plain_name(file): _fact(fact) for file, fact in _of_type(value["files"], dict).items()}
    return Manifest(provenance, _of_type(value["num_parameters"], int), dtype, files)


def _fact(value: Any) -> FileFact:
    fact = _of_type(value, dict)
    return FileFact(_of_type(fact["size"], int), _of_type(fact["sha256"], str))


def _plain_name(name: str) -> str:
    if Path(name).name != name:
        raise TypeError(f"{name[:60]!r} is no name of a file in this folder")
    return name


def _of_type(value: Any, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where {kind.__name__} is expected")
    return value


def _seal_of(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_render(value)).hexdigest()


def _render(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("ascii")
