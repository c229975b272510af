"""What every worker of a run does alike: which model, with which options, and how it embeds a part."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fleet.landing import Incidents
from openankh.fleet.parts import Part
from openankh.store import Provenance, ShardLimits
from openankh.store.shard import ShardContent

if TYPE_CHECKING:
    from openankh.embedding.embedder import Embedder

OnBatch = Callable[[int, int], None]
"""Called after each batch with the proteins and residues of the part embedded so far."""


@dataclass(frozen=True)
class Setup:
    """What a worker finds once its model is loaded; `limits` are those of a shard on its device."""

    provenance: Provenance
    limits: ShardLimits

    def require_same(self, other: "Setup", where: str) -> None:
        """Refuse a worker that would make other numbers; the input, which it does not know, is left out."""
        theirs = replace(other.provenance, input_sha256=self.provenance.input_sha256)
        for name, one, found in self.provenance.differences(theirs):
            raise UserError(
                f"{where} would make {name} {found} where another worker makes {one}: workers must hold the same model "
                "and compute alike; name devices of one kind, or say how with --precision"
            )


@dataclass(frozen=True)
class Job:
    """A model by name or folder and what to make of each protein; a worker reads the model by itself.

    `limits` are those of a shard, and so of a part; None is what suits the device.
    """

    model: str
    options: EmbedOptions
    trust_pickle: bool = False
    offline: bool = False
    limits: ShardLimits | None = None

    def load(self, device: str, num_threads: int) -> tuple["Embedder", Setup]:
        """The encoder on that device, in a process of its own; raises UserError for whatever stands in the way."""
        import torch

        from openankh.embedding.run import ModelIdentity, limits_for, provenance_of
        from openankh.loaded import load_embedder

        torch.set_num_threads(num_threads)
        if device.startswith("cuda:"):
            torch.cuda.set_device(device)  # what is made without naming a device belongs there too
        embedder, loaded = load_embedder(
            self.model, self.options, device, trust_pickle=self.trust_pickle, offline=self.offline
        )
        provenance = provenance_of(embedder, ModelIdentity(loaded.pinned_name, loaded.sha256), None)
        return embedder, Setup(provenance, self.limits or limits_for(embedder))


@dataclass(frozen=True, eq=False)
class Made:
    """The arrays of a part, and what happened while they were made."""

    content: ShardContent
    incidents: Incidents


def embed_part(embedder: "Embedder", part: Part, on_batch: OnBatch = lambda records, residues: None) -> Made:
    """The arrays of all records of a part, in order."""
    before = _counted(embedder)
    ids, lengths, arrays = [], [], []
    for batch in embedder.batches(part.records):
        for record, array in batch:
            ids.append(record.id)
            lengths.append(len(record.sequence))
            arrays.append(array)
        on_batch(len(ids), sum(lengths))
    incidents = _counted(embedder).since(before)
    if incidents.num_halvings:
        embedder.remember_budget()
    return Made(ShardContent(ids, lengths, arrays), incidents)


def _counted(embedder: "Embedder") -> Incidents:
    """Since its model was loaded."""
    return Incidents(
        embedder.num_reused,
        embedder.num_residues_reused,
        embedder.num_overflowed,
        embedder.num_halvings,
        embedder.max_tokens,
    )


@dataclass(frozen=True)
class Failed:
    """What stopped a worker: its error's line, whether the error is the user's, and the traceback if it is not."""

    line: str
    is_users: bool
    details: str = ""

    @classmethod
    def by(cls, error: Exception) -> "Failed":
        """The error being handled, as it travels."""
        if isinstance(error, UserError):
            return cls(str(error), is_users=True)
        return cls(f"{type(error).__name__}: {error}", False, traceback.format_exc())

    def error(self, where: str) -> Exception:
        """The error, as if it had happened here."""
        if self.is_users:
            return UserError(self.line)
        error = RuntimeError(f"worker on {where}: {self.line}")
        error.add_note(self.details)
        return error
