"""From a FASTA file to an embedding file or store: continued where an earlier run stopped; finished, or not there."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.shards import shards_of
from openankh.embedding.survey import InputDigest, Repeats, Survey
from openankh.embedding.write_behind import WriteBehind
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadCounts, Record
from openankh.files import free_bytes
from openankh.store import Embedding, Output, Provenance, ShardLimits, Target, require_room

OnProgress = Callable[[int, int], None]
"""Called after each batch with the records and residues done so far, those of an earlier run included."""

_GPU_LIMITS = ShardLimits(num_bytes=256 << 20, num_residues=4_000_000)
_CPU_OPERATIONS = 5e13
"""About what a CPU does in a few minutes: what a killed run repeats at most."""


@dataclass(frozen=True)
class ModelIdentity:
    """How a model is called, and the hash that tells it apart from every other."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    `survey` and `num_bytes`, the size of the whole output, are None for a stream; `free_bytes` are those of the disk
    before anything is written, None where nobody can tell; `records_kept`, of `residues_kept`, an earlier run has left.
    """

    provenance: Provenance
    survey: Survey | None
    num_bytes: int | None
    free_bytes: int | None
    records_kept: int
    residues_kept: int

    @property
    def repeats(self) -> Repeats | None:
        """What need not be computed, as far as it is known."""
        return self.survey.repeats if self.survey else None


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did.

    `counts` are of the whole input; `records_kept` had been left by an earlier run; `residues_embedded` by this one, in
    `seconds`, writing included and loading the model not. Of these, `records_reused` of `residues_reused` had the
    sequence of another and were not computed; `records_overflowed` were computed again in fp32, since fp16 did not hold
    them. `max_tokens` were computed at once in the end, after memory had run out `num_halvings` times.
    """

    provenance: Provenance
    counts: ReadCounts
    records_kept: int
    residues_embedded: int
    seconds: float
    records_reused: int = 0
    residues_reused: int = 0
    records_overflowed: int = 0
    num_halvings: int = 0
    max_tokens: int | None = None

    @property
    def residues_per_second(self) -> int:
        """Residues computed a second."""
        return round((self.residues_embedded - self.residues_reused) / max(self.seconds, 1e-9))


def embed_file(
    reader: FastaReader,
    target: Target,
    embedder: Embedder,
    model: ModelIdentity,
    survey: Survey | None = None,
    on_progress: OnProgress = lambda records, residues: None,
    on_begin: Callable[[Plan], None] = lambda plan: None,
) -> EmbedSummary:
    """Embed every record of `reader` into `target`, whose lock the caller holds.

    `survey` is what a first reading of the same input found; None for a stream, which cannot be continued later.
    `on_begin` is told what is to be done before anything is computed. Raises UserError for a full disk, for an input
    that changed since the survey, and whatever reading and embedding raise.
    """
    provenance = provenance_of(embedder, model, survey)
    before = _counts(embedder)
    started = time.perf_counter()
    digest = InputDigest()
    needed, free = _needed_bytes(target, provenance, survey), free_bytes(target.path)
    with target.writing(provenance, needed, limits_for(embedder)) as output:
        kept, residues_kept = output.num_done, output.num_residues_done
        on_begin(Plan(provenance, survey, needed, free, kept, residues_kept))
        if survey:
            embedder.expect(survey.repeats)
        try:
            num_residues = _write(embedder, islice(digest.passing(reader), kept, None), provenance, output, on_progress)
        finally:
            reader.close()
            embedder.remember_budget()
        found = digest.survey()
        if survey and survey.sha256 != found.sha256:
            raise UserError(f"{reader.name}: changed while it was being read; run again")
        output.finish(found.sha256)
    seconds = time.perf_counter() - started
    reused, residues_reused, overflowed, halvings = (
        now - then for now, then in zip(_counts(embedder), before, strict=True)
    )
    return EmbedSummary(
        provenance.of_input(found.sha256),
        reader.counts,
        kept,
        num_residues - residues_kept,
        seconds,
        reused,
        residues_reused,
        overflowed,
        halvings,
        embedder.max_tokens,
    )


def _counts(embedder: Embedder) -> tuple[int, int, int, int]:
    """What an embedder counts, in the order of the summary; all runs of it together."""
    return embedder.num_reused, embedder.num_residues_reused, embedder.num_overflowed, embedder.num_halvings


def provenance_of(embedder: Embedder, model: ModelIdentity, survey: Survey | None) -> Provenance:
    """What the numbers that this embedder makes of that input are."""
    return Provenance(
        input_sha256=survey.sha256 if survey else None,
        model=model.name,
        model_sha256=model.sha256,
        precision=embedder.precision,
        dtype=embedder.dtype,
        states=embedder.states,
        layers=embedder.layers,
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
    """A GPU does in a second what a CPU does in minutes: its shards hold more; those of a large model on a CPU less."""
    if embedder.device.type != "cpu":
        return _GPU_LIMITS
    most, config = ShardLimits(), embedder.model.config
    affordable = max(round(_CPU_OPERATIONS / (2 * config.num_encoder_parameters)), 10_000)
    return replace(most, num_residues=min(most.num_residues, affordable))


def _write(
    embedder: Embedder, records: Iterable[Record], provenance: Provenance, output: Output, on_progress: OnProgress
) -> int:
    """Embed and write all records; returns the residues that the output then holds."""
    num_records, num_residues = output.num_done, output.num_residues_done
    on_progress(num_records, num_residues)
    with WriteBehind(output.write) as writer:
        for pairs in _batches(embedder, records, provenance, output):
            embeddings = [Embedding(record.id, len(record.sequence), array) for record, array in pairs]
            writer.put(embeddings)
            num_records += len(embeddings)
            num_residues += sum(embedding.length for embedding in embeddings)
            on_progress(num_records, num_residues)
    return num_residues


def _batches(
    embedder: Embedder, records: Iterable[Record], provenance: Provenance, output: Output
) -> Iterator[list[Pair]]:
    """Batches of which none lies in two shards, so that a continued run forms the same ones."""
    for shard in shards_of(records, provenance, output.limits):
        yield from embedder.batches(shard)
