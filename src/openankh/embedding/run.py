"""From a FASTA file to an embedding file or store: continued where an earlier run stopped; finished, or not there."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.survey import InputDigest, Survey
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadCounts
from openankh.store import Embedding, Output, Provenance, ShardLimits, Target, require_room

OnProgress = Callable[[int, int], None]
"""Called after each batch with the records and residues done so far, those of an earlier run included."""

_GPU_LIMITS = ShardLimits(num_bytes=256 << 20, num_residues=4_000_000)


@dataclass(frozen=True)
class ModelIdentity:
    """How a model is called, and the hash that tells it apart from every other."""

    name: str
    sha256: str


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    `counts` are of the whole input; `records_kept` had been left by an earlier run; `residues_embedded` by this one, in
    `seconds`, writing included and loading the model not.
    """

    provenance: Provenance
    counts: ReadCounts
    records_kept: int
    residues_embedded: int
    seconds: float


def embed_file(
    reader: FastaReader,
    target: Target,
    embedder: Embedder,
    model: ModelIdentity,
    survey: Survey | None = None,
    on_progress: OnProgress = lambda records, residues: None,
) -> EmbedSummary:
    """Embed every record of `reader` into `target`, whose lock the caller holds.

    `survey` is what a first reading of the same input found; None for a stream, which cannot be continued later. Raises
    UserError for a full disk, for an input that changed since the survey, and whatever reading and embedding raise.
    """
    provenance = provenance_of(embedder, model, survey)
    started = time.perf_counter()
    digest = InputDigest()
    with target.writing(provenance, _needed_bytes(target, provenance, survey), limits_for(embedder)) as output:
        kept, residues_kept = output.num_done, output.num_residues_done
        batches = embedder.batches(islice(digest.passing(reader), kept, None))
        num_residues = _write(batches, output, on_progress)
        found = digest.survey()
        if survey and survey.sha256 != found.sha256:
            raise UserError(f"{reader.name}: changed while it was being read; run again")
        output.finish(found.sha256)
    seconds = time.perf_counter() - started
    return EmbedSummary(provenance.of_input(found.sha256), reader.counts, kept, num_residues - residues_kept, seconds)


def provenance_of(embedder: Embedder, model: ModelIdentity, survey: Survey | None) -> Provenance:
    """What the numbers that this embedder makes of that input are."""
    return Provenance(
        input_sha256=survey.sha256 if survey else None,
        model=model.name,
        model_sha256=model.sha256,
        precision=embedder.precision,
        dtype=embedder.dtype,
        states="encoder",
        layers=(embedder.layer,),
        pool=embedder.pool,
        prefix=embedder.prefix,
        width=embedder.model.config.d_model,
    )


def _needed_bytes(target: Target, provenance: Provenance, survey: Survey | None) -> int | None:
    """The bytes the whole output takes, checked against what is free; None when the input's size is not known."""
    if survey is None:
        return None
    needed = target.needed_bytes(provenance, survey.num_records, survey.num_residues)
    require_room(target, needed)
    return needed


def limits_for(embedder: Embedder) -> ShardLimits:
    """A GPU does in a second what a CPU does in minutes: its shards hold more."""
    return ShardLimits() if embedder.device.type == "cpu" else _GPU_LIMITS


def _write(batches: Iterator[list[Pair]], output: Output, on_progress: OnProgress) -> int:
    """Write all batches; returns the residues that the output then holds."""
    num_records, num_residues = output.num_done, output.num_residues_done
    on_progress(num_records, num_residues)
    for batch in batches:
        embeddings = [Embedding(record.id, len(record.sequence), array) for record, array in batch]
        output.write(embeddings)
        num_records += len(embeddings)
        num_residues += sum(embedding.length for embedding in embeddings)
        on_progress(num_records, num_residues)
    return num_residues
