"""`openankh store`: embedding stores verified, described, exported to other formats, merged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from openankh.cli import report
from openankh.cli.options import Json, Quiet
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.store.verification import Damage, OnBytes, Verification

StoreFolder = Annotated[Path, Parameter(help="The folder that `openankh embed` wrote.")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT, once the new one is whole.")]
Ids = Annotated[
    Path | None, Parameter(help="Only the proteins that this file lists, one id a line or FASTA, in its order.")
]
DuplicatesChoice = Annotated[
    Literal["keep", "refuse"],
    Parameter(name="--duplicates", help="Ids that occur more than once: keep all their proteins, in order, or refuse."),
]

store = App(name="store", help="Embedding stores: verify, describe, export, merge.", help_format="plaintext")


@store.command
def verify(folder: StoreFolder, /, *, json: Json = False, quiet: Quiet = False) -> None:
    """Read every byte of a store; exit code 2 and the damaged files by name when it is not as it was written."""
    from openankh.store.verification import verify_store

    with _progress_of_bytes("verifying", _num_bytes(folder), quiet) as on_bytes:
        found = verify_store(folder, on_bytes)
    facts = {"store": folder, "is_whole": found.is_whole, **asdict(found)}
    report.result(facts if json else {name: value for name, value in facts.items() if value != ()}, as_json=json)
    if found.damages:
        raise UserError(_told(folder, found))


@store.command
def info(folder: StoreFolder, /, *, json: Json = False) -> None:
    """What a store is: how many proteins, how large, and what made the numbers. Knows unfinished ones too."""
    from openankh.store.description import describe_store

    found = describe_store(folder)
    facts = {name: value for name, value in asdict(found).items() if name not in ("folder", "provenance")}
    facts = {"store": folder, **facts, "array_of_a_protein": found.array, **found.provenance.to_json()}
    report.result(facts, as_json=json)


@store.command
def export(
    folder: StoreFolder,
    output: Annotated[str, Parameter(name=("--output", "-o"), help=".h5, .parquet or .npz file, or another store.")],
    *,
    ids: Ids = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A store as HDF5, Parquet or NPZ, whole or in part."""
    from openankh.store import EmbeddingStore, parse_target, sole_writer
    from openankh.store.exporting import export_store, read_ids

    source = EmbeddingStore.open(folder)
    chosen = None if ids is None else read_ids(ids)
    target = parse_target(output, overwrite)
    total = len(source) if chosen is None else None
    with (
        sole_writer(target.path),
        report.progress("exporting", total, unit="proteins", quiet=quiet) as bar,
    ):
        summary = export_store(source, target, chosen, lambda num_proteins: bar.reach(num_proteins))
    facts = {"num_proteins": summary.num_proteins, "num_residues": summary.num_residues}
    report.result({"output": output, "format": target.format, **facts, **summary.provenance.to_json()}, as_json=json)


@store.command
def merge(
    *folders: Annotated[Path, Parameter(help="Stores that differ in their input alone, in the order wanted.")],
    output: Annotated[Path, Parameter(name=("--output", "-o"), help="The folder of the new store.")],
    duplicates: DuplicatesChoice = "keep",
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Several stores into one, as if their inputs had been one file; shards are linked where the disk can."""
    from openankh.lock import sole_writer
    from openankh.store.merging import merge_stores

    with (
        sole_writer(output),
        _progress_of_bytes("verifying", sum(map(_num_bytes, folders)), quiet) as on_bytes,
    ):
        summary = merge_stores(folders, output, duplicates=duplicates, overwrite=overwrite, on_bytes=on_bytes)
    facts = {name: value for name, value in asdict(summary).items() if name != "provenance"}
    report.result({"store": output, **facts, **summary.provenance.to_json()}, as_json=json)


def _num_bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else 0


@contextmanager
def _progress_of_bytes(what: str, total: int, quiet: bool) -> "Iterator[OnBytes]":
    with report.progress(what, total / 1e6, unit="MB", quiet=quiet) as bar:
        yield lambda num_bytes: bar.reach(num_bytes / 1e6)


def _told(folder: Path, found: "Verification") -> str:
    """All damage of a store in one line, with what to do."""
    shown = "; ".join(map(_shown, found.damages[:3]))
    more = f"; and {len(found.damages) - 3} more" if len(found.damages) > 3 else ""
    remedy = "copy these files again from where the store is whole, or embed again with --overwrite"
    return f"{folder}: {len(found.damages)} damaged: {shown}{more}; {remedy}"


def _shown(damage: "Damage") -> str:
    places = "" if damage.first is None else f", proteins {damage.first} to {damage.last}"
    return f"{damage.file} ({damage.reason}{places})"
