"""From a FASTA file to an output by many workers: parts dealt out, shards taken up, one store or file at the end."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from openankh.embedding.run import EmbedSummary, Plan
from openankh.embedding.survey import Survey
from openankh.fasta import FastaReader
from openankh.files import free_bytes, put_folder_in_place, remove_temporaries_of, require_free_space
from openankh.fleet.assembly import Assembly, assembling
from openankh.fleet.job import Setup
from openankh.fleet.landing import Incidents, Landed, Landing
from openankh.fleet.parts import PartSource
from openankh.fleet.url_assembly import assembling_url
from openankh.fleet.url_folder import UrlFolder
from openankh.store import Embedding, EmbeddingStore, Provenance, ShardLimits, Target
from openankh.store.target import STORE
from openankh.store.writer import num_bytes_there, partial_folder, resumable_disk_full_named

OnProgress = Callable[[int, int], None]
"""Called with the proteins and residues done so far, those of an earlier run included."""


class Crew(Protocol):
    """Workers: processes on devices of this machine, or actors of a cluster."""

    def setup(self) -> Setup:
        """What each of them finds once its model is loaded."""
        ...

    def run(self, source: PartSource, landing: Landing, on_progress: OnProgress) -> Iterator[Landed]:
        """Let them make every part of the source; yields each one's shard, as soon as it is durable."""
        ...


Destination = Target | UrlFolder
"""An output on this machine, whose lock the caller holds, or behind a URL."""


@dataclass
class FleetRun:
    """One run: what is to be embedded, and where to; `num_safe` proteins are the output's already."""

    reader: FastaReader
    destination: Destination
    survey: Survey | None
    overwrite: bool = False
    num_safe: int = 0

    def embed(
        self,
        crew: Crew,
        on_progress: OnProgress = lambda records, residues: None,
        on_begin: Callable[[Plan], None] = lambda plan: None,
    ) -> EmbedSummary:
        """Let the crew embed every record of the reader into the destination.

        `survey` is what a first reading of the same input found; None for a stream, which cannot be continued later.
        `on_begin` is told what is to be done before any part is given out. Raises UserError for a full disk, for an
        input that changed since the survey, and whatever a worker raises.
        """
        setup = crew.setup()
        started = time.perf_counter()
        provenance = replace(setup.provenance, input_sha256=self.survey.sha256 if self.survey else None)
        needed, free = self._room(provenance)
        with self.reader, self._assembling(provenance, setup.limits, needed) as assembly:
            kept = assembly.num_records, assembly.num_residues
            on_begin(Plan(provenance, self.survey, needed, free, *kept))
            incidents, found = self._assemble(crew, assembly, provenance, on_progress)
        seconds, embedded = time.perf_counter() - started, found.num_residues - kept[1]
        return EmbedSummary(
            provenance.of_input(found.sha256),
            self.reader.counts,
            kept[0],
            embedded,
            seconds,
            records_reused=incidents.records_reused,
            residues_reused=incidents.residues_reused,
            records_overflowed=incidents.records_overflowed,
            num_halvings=incidents.num_halvings,
            max_tokens=incidents.max_tokens,
        )

    def _assemble(
        self, crew: Crew, assembly: Assembly, provenance: Provenance, on_progress: OnProgress
    ) -> tuple[Incidents, Survey]:
        num_kept, residues_kept = assembly.num_records, assembly.num_residues
        self.num_safe, incidents = num_kept, Incidents()
        on_progress(num_kept, residues_kept)
        source = PartSource(
            self.reader, provenance, assembly.limits, assembly.number, assembly.first, assembly.kept, self.survey
        )

        def tell(num_records: int, num_residues: int) -> None:
            on_progress(num_kept + num_records, residues_kept + num_residues)

        for landed in crew.run(source, assembly.landing, tell):
            assembly.take(landed)
            self.num_safe, incidents = assembly.num_records, incidents.and_then(landed.incidents)
        found = source.found or self.survey
        assert found is not None and found.num_records == assembly.num_records, "not every part was made"
        assembly.finish(provenance.of_input(found.sha256))
        return incidents, found

    @contextmanager
    def _assembling(self, provenance: Provenance, limits: ShardLimits, needed: int | None) -> Iterator[Assembly]:
        """The store being put together, in its place or exported when the block ends."""
        if isinstance(self.destination, UrlFolder):
            with assembling_url(self.destination, provenance, limits, overwrite=self.overwrite) as assembly:
                yield assembly
            return
        target = self.destination
        remove_temporaries_of(target.path)
        folder = partial_folder(target.path)
        with resumable_disk_full_named(target.path, needed):
            with assembling(folder, provenance, limits, overwrite=target.overwrite) as assembly:
                yield assembly
            if target.format == STORE:
                put_folder_in_place(folder, target.path)
            else:
                _export(folder, target)

    def _room(self, provenance: Provenance) -> tuple[int | None, int | None]:
        """The bytes that all takes, and those free; None what nobody can tell. UserError when there is no room."""
        is_url = isinstance(self.destination, UrlFolder)
        target = Target(Path(), STORE, False) if isinstance(self.destination, UrlFolder) else self.destination
        free = None if is_url else free_bytes(target.path)
        if self.survey is None:
            return None, free
        counts = self.survey.num_records, self.survey.num_residues
        needed = replace(target, format=STORE).needed_bytes(provenance, *counts)
        if target.format != STORE:
            needed += target.needed_bytes(provenance, *counts)  # the export is made from the whole store
        if not is_url:
            require_free_space(target.path, max(needed - num_bytes_there(target.path), 0))
        return needed, free


def _export(folder: Path, target: Target) -> None:
    """Write the finished store in `folder` as the file that was asked for, and remove it."""
    store = EmbeddingStore.open(folder)
    with target.writing(store.provenance) as output:
        for (name, array), length in zip(store.items(), store.lengths.tolist(), strict=True):
            output.write([Embedding(name, length, array)])
        output.finish(store.provenance.input_sha256 or "")
    shutil.rmtree(folder)
