"""The output a user names: its format, what stands there already, the space it needs, and how to write it."""

import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from openankh.errors import UserError
from openankh.files import remove_temporaries_of, require_free_space
from openankh.store import hdf5, npz, parquet
from openankh.store.journal import ShardLimits, read_journal
from openankh.store.manifest import read_manifest
from openankh.store.numbers import exported_type, itemsize
from openankh.store.output import Output
from openankh.store.provenance import Provenance
from openankh.store.writer import num_bytes_there, partial_folder, writing_store

STORE = "store"
SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".parquet": "parquet", ".npz": "npz"}
_EXTRAS = {"hdf5": "h5py", "parquet": "pyarrow"}
_BYTES_A_PROTEIN = {
    "hdf5": hdf5.BYTES_A_PROTEIN,
    "npz": npz.BYTES_A_PROTEIN,
    "parquet": parquet.BYTES_A_PROTEIN,
    STORE: 76,
}
_WRITERS: dict[str, Callable[[Path, Provenance, int | None], AbstractContextManager[Output]]] = {
    "hdf5": hdf5.writing_hdf5,
    "npz": npz.writing_npz,
    "parquet": parquet.writing_parquet,
}


@dataclass(frozen=True)
class Target:
    """A checked output: where, in which format, and whether what stands there may be replaced."""

    path: Path
    format: str
    overwrite: bool

    def needed_bytes(self, provenance: Provenance, num_records: int, num_residues: int) -> int:
        """About how many bytes so many proteins will take."""
        size = itemsize(provenance.dtype) if self.format == STORE else exported_type(provenance.dtype).itemsize
        numbers = provenance.num_rows(num_records, num_residues) * provenance.width
        return numbers * size + num_records * _BYTES_A_PROTEIN[self.format]

    def writing(
        self, provenance: Provenance, needed_bytes: int | None = None, limits: ShardLimits | None = None
    ) -> AbstractContextManager[Output]:
        """Write it: a context whose target appears when the block ends well; the caller holds the lock.

        `needed_bytes` is named when the disk runs full; `limits` are those of the native store's shards. What killed
        writers left beside the target is removed.
        """
        if self.format == STORE:
            return writing_store(
                self.path, provenance, overwrite=self.overwrite, limits=limits, needed_bytes=needed_bytes
            )
        remove_temporaries_of(self.path)
        return _WRITERS[self.format](self.path, provenance, needed_bytes)


def parse_target(name: str, overwrite: bool = False) -> Target:
    """The output that a user named.

    Raises UserError for an unknown ending, a format whose library is not installed, a folder that is missing, and for
    what stands there already, unless it may be overwritten.
    """
    path = Path(os.path.realpath(name))
    target = Target(path, _format_of(name), overwrite)
    library = _EXTRAS.get(target.format)
    if library is not None and importlib.util.find_spec(library) is None:
        raise UserError(f'{name}: needs {library}, which is not installed; run: pip install "openankh[export]"')
    if not path.parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.parent} does not exist; create it first")
    _require_replaceable(name, target)
    return target


def require_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise UserError unless a store may be put at `folder`; nothing but a store is ever replaced."""
    _require_replaceable(str(folder), Target(Path(os.path.realpath(folder)), STORE, overwrite))


def num_unfinished(target: Target) -> int:
    """How many proteins an earlier run has left safely on disk, for a later one to continue after."""
    try:
        begun = read_journal(partial_folder(target.path)) if target.format == STORE else None
    except UserError:
        return 0
    return sum(shard.num_records for shard in begun[2]) if begun else 0


def require_room(target: Target, needed_bytes: int) -> None:
    """Raise UserError with needed and free bytes when the disk is too small, before any work is done.

    What an earlier run has left to be continued is there already.
    """
    num_bytes = num_bytes_there(target.path) if target.format == STORE else 0
    require_free_space(target.path, max(needed_bytes - num_bytes, 0))


def _format_of(name: str) -> str:
    endings = ", ".join(SUFFIXES)
    if name in ("", "-"):
        raise UserError(f"cannot write {name!r}: name a file ({endings}) or a folder")
    suffix = Path(name).suffix.lower()
    if name.endswith(("/", os.sep)) or not suffix or (suffix not in SUFFIXES and Path(name).is_dir()):
        return STORE
    if suffix not in SUFFIXES:
        near = get_close_matches(suffix, SUFFIXES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{name}: unknown ending {suffix!r}; {hint}use {endings}, or end a folder's name with /")
    return SUFFIXES[suffix]


def _require_replaceable(name: str, target: Target) -> None:
    path = target.path
    if not path.exists() or (target.format == STORE and path.is_dir() and not any(path.iterdir())):
        return
    if not target.overwrite:
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
    if target.format != STORE:
        if not path.is_file():
            raise UserError(f"cannot overwrite {name}: it is not a plain file; choose another name")
        return
    try:
        read_manifest(path)
    except UserError:
        raise UserError(f"cannot overwrite {name}: it is not an embedding store; choose another name") from None
