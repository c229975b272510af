"""A FASTA file to search among: embedded into a store beside it, once while file and model stay the same."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from openankh.embedding.run import embed_file, provenance_of
from openankh.embedding.survey import Survey, survey
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.lookup.protein_embedder import ProteinEmbedder
from openankh.lookup.vector_kind import ModelAccess
from openankh.lookup.watching import Watcher
from openankh.store import EmbeddingStore, Provenance, parse_target, sole_writer


def embedded_fasta(
    fasta: Path, model: ProteinEmbedder, access: ModelAccess, cache: Path | None, watcher: Watcher
) -> EmbeddingStore:
    """The store of a FASTA file's proteins, in the folder `cache` or beside the file; embedded when it is not there.

    Its name tells file, pool and layer and, in eight digits, model and arithmetic. A store of the file as it was before
    a change is replaced. A killed embedding goes on with the next call.
    """
    reader = fasta_reader(fasta, model, access)
    found = _survey(reader, fasta, watcher)
    wanted = provenance_of(model.embedder, model.identity, found)
    place = _place(fasta, wanted, cache)
    with sole_writer(place):
        if (store := _present(place, wanted)) is None:
            if place.exists():
                watcher.note(f"{place}: of another content of {fasta}; embedded again")
            _embed(reader, place, model, found, watcher)
            watcher.note(f"{place}: the embeddings of {fasta}, kept for the next search")
            store = EmbeddingStore.open(place)
    return store


def fasta_reader(fasta: Path | str, model: ProteinEmbedder, access: ModelAccess) -> FastaReader:
    """Reads a FASTA file in the letters that the model knows."""
    return FastaReader(fasta, ReadOptions(model.embedder.vocab.letters, access.unknown))


def _survey(reader: FastaReader, fasta: Path, watcher: Watcher) -> Survey:
    total = os.path.getsize(fasta) if fasta.is_file() else None

    def watched() -> Iterator[Record]:
        for number, record in enumerate(reader):
            if number % 1000 == 0:
                watcher.progress(f"checking {fasta.name}", reader.bytes_read, total, "bytes")
            yield record

    return survey(watched())


def _place(fasta: Path, wanted: Provenance, cache: Path | None) -> Path:
    folder = fasta.resolve().parent if cache is None else cache.resolve()
    if not os.access(folder, os.W_OK):
        remedy = "name a folder that can be written with --cache"
        raise UserError(
            f"{folder}: cannot be written, and the embeddings of {fasta.name} are to be kept there; {remedy}"
        )
    facts = [wanted.model_sha256, wanted.precision, wanted.dtype, wanted.prefix, wanted.states]
    digits = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
    return folder / f"{fasta.name}.{wanted.pool}-layer{wanted.layers[0]}-{digits}"


def _present(place: Path, wanted: Provenance) -> EmbeddingStore | None:
    """The store that stands there, when it is whole and holds just these numbers."""
    try:
        store = EmbeddingStore.open(place)
    except UserError:
        return None
    return None if any(store.provenance.differences(wanted)) else store


def _embed(reader: FastaReader, place: Path, model: ProteinEmbedder, found: Survey, watcher: Watcher) -> None:
    def show(num_records: int, num_residues: int) -> None:
        watcher.progress(f"embedding {Path(reader.name).name}", num_residues, found.num_residues, "residues")

    # Overwriting discards what was begun of another content, and goes on with what was begun of this one.
    embed_file(reader, parse_target(f"{place}/", overwrite=True), model.embedder, model.identity, found, show)
