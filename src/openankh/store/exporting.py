"""From an embedding store to another output, a file or a store, of all its proteins or some; in bounded memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from openankh.errors import UserError
from openankh.store.output import Embedding
from openankh.store.provenance import Provenance
from openankh.store.reader import EmbeddingStore
from openankh.store.shard import id_to_bytes
from openankh.store.target import Target, require_room

OnProteins = Callable[[int], None]
"""Hears how many proteins are written so far."""

_BATCH_BYTES, _BATCH_PROTEINS = 4 << 20, 1024


@dataclass(frozen=True)
class ExportSummary:
    """What was written, and what its provenance says."""

    num_proteins: int
    num_residues: int
    provenance: Provenance


def export_store(
    store: EmbeddingStore,
    target: Target,
    ids: Sequence[str] | None = None,
    on_proteins: OnProteins = lambda num_proteins: None,
) -> ExportSummary:
    """Write the proteins of a store to `target`, whose lock the caller holds; all, or those of `ids` in that order.

    An id that several proteins have takes them all; one given twice counts once. The input of a part is told apart from
    that of the whole: its hash is over the whole's and the ids taken. Raises UserError for an id that no protein has,
    and for a full disk.
    """
    places = None if ids is None else _places_of(store, ids)
    num_residues = store.num_residues if places is None else sum(store.length(place) for place in places)
    num_proteins = len(store) if places is None else len(places)
    provenance = store.provenance if places is None else _of_part(store, places)
    needed = target.needed_bytes(provenance, num_proteins, num_residues)
    require_room(target, needed)
    with target.writing(provenance, needed) as output:
        num_done = output.num_done
        todo = islice(store.embeddings(places), num_done, None)
        for batch in _batches(todo):
            output.write(batch)
            num_done += len(batch)
            on_proteins(num_done)
        output.finish(provenance.input_sha256 or "")
    return ExportSummary(num_proteins, num_residues, provenance)


def _places_of(store: EmbeddingStore, ids: Sequence[str]) -> list[int]:
    places: list[int] = []
    missing: list[str] = []
    for protein_id in dict.fromkeys(ids):
        found = store.find(protein_id)
        places.extend(found)
        if not found:
            missing.append(protein_id)
    if missing:
        which = "the id" if len(missing) == 1 else f"any of {len(missing):,} ids of the list, the first"
        raise UserError(f"{store.folder}: no protein has {which} {missing[0]!r}{store.hint(missing[0])}")
    if not places:
        raise UserError(f"{store.folder}: the list of ids is empty; name at least one")
    return places


def _of_part(store: EmbeddingStore, places: Iterable[int]) -> Provenance:
    digest = hashlib.sha256(f"of {store.provenance.input_sha256}\n".encode())
    for place in places:
        digest.update(b"%d " % place + id_to_bytes(store.id(place)) + b"\n")
    return store.provenance.of_input(digest.hexdigest())


def _batches(embeddings: Iterable[Embedding]) -> Iterator[list[Embedding]]:
    batch: list[Embedding] = []
    num_bytes = 0
    for embedding in embeddings:
        batch.append(embedding)
        num_bytes += embedding.values.nbytes
        if num_bytes >= _BATCH_BYTES or len(batch) == _BATCH_PROTEINS:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def read_ids(path: Path) -> list[str]:
    """The ids that a text file lists, one a line; of a FASTA file those of its headers.

    Bytes that are not UTF-8 become what the FASTA reader makes of them. UserError for a file that cannot be read.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        reason = str(error.strerror).lower()
        raise UserError(f"cannot read {path}: {reason}; name a text file of one id a line") from None
    lines = [line for line in lines if line.strip()]
    if lines and lines[0].startswith(b">"):
        lines = [line[1:] for line in lines if line.startswith(b">")]
    return [line.strip().split(maxsplit=1)[0].decode("utf-8", "surrogateescape") for line in lines if line.strip()]
