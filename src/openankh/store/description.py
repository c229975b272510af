"""What an embedding store is: how many proteins, made by what, of which size, finished or not."""

from dataclasses import dataclass
from pathlib import Path

from openankh.errors import UserError
from openankh.store.provenance import Provenance
from openankh.store.reader import EmbeddingStore
from openankh.store.verification import manifest_or_journal
from openankh.store.writer import partial_folder


@dataclass(frozen=True)
class Description:
    """A store in numbers; of one that is not finished the proteins that are safe so far."""

    folder: Path
    is_finished: bool
    format_version: int
    num_proteins: int
    num_residues: int
    num_shards: int
    num_bytes: int
    provenance: Provenance

    @property
    def array(self) -> str:
        """The shape of the array of a protein, in letters and numbers."""
        rows = f"L x {self.provenance.width}" if self.provenance.is_per_residue else f"{self.provenance.width}"
        return rows if self.provenance.num_layers == 1 else f"{self.provenance.num_layers} x {rows}"


def describe_store(folder: Path) -> Description:
    """What a store is; UserError for a folder that is none, or whose files have not the size written."""
    unfinished = partial_folder(folder)
    if not folder.exists() and unfinished.is_dir():
        raise UserError(
            f"{folder}: not finished; {unfinished} holds what is done so far: the command that began it goes on with it"
        )
    manifest, is_finished = manifest_or_journal(folder)
    if is_finished:
        EmbeddingStore.open(folder)
    return Description(
        folder=folder,
        is_finished=is_finished,
        format_version=manifest.version,
        num_proteins=manifest.num_records,
        num_residues=manifest.num_residues,
        num_shards=len(manifest.shards),
        num_bytes=sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file()),
        provenance=manifest.provenance,
    )
