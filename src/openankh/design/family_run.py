"""A run of designing from a family: a folder with the adapted model, what it was adapted to, and the proposals."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from openankh.checkpoint import save_model
from openankh.design.adaptation import Adapted, OnStep, adapt
from openankh.design.family import Family, Split, long_enough, split
from openankh.design.family_settings import FamilySettings
from openankh.design.family_writing import ADAPTED_TASK, written
from openankh.design.filters import Filtering
from openankh.design.proposal import Proposal
from openankh.design.proposal_files import write_proposals
from openankh.design.screening import Screening
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.loaded import LoadedModel
from openankh.provenance import Provenance

_WRITING = ("prompts", "num", "temperatures", "method", "beams", "top_k", "top_p", "min_length")
"""Settings that adapting does not depend on."""


@dataclass(frozen=True)
class FamilyFolder:
    """Where everything of a run lies."""

    root: Path

    @property
    def model(self) -> Path:
        """The adapted model, which every verb takes with `-m`."""
        return self.root / "model"

    @property
    def record(self) -> Path:
        """What was adapted to what, and how the losses went."""
        return self.root / "adaptation.json"

    @property
    def held_out(self) -> Path:
        """The members that were not learned from."""
        return self.root / "held_out.fasta"

    def proposals(self, temperature: float) -> tuple[Path, Path]:
        """FASTA and table of a temperature."""
        name = f"designs_t{temperature:g}"
        return self.root / f"{name}.fasta", self.root / f"{name}.csv"

    def require_new(self, overwrite: bool, resume: bool) -> None:
        """Raise UserError where something stands there that is not to be replaced or gone on with."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"{self.root}: is a file; name a folder")
        if resume and not self.record.is_file():
            raise UserError(f"--resume: {self.root} holds no {self.record.name}; begin a run without --resume")
        if not (overwrite or resume) and self.root.is_dir() and any(self.root.iterdir()):
            raise UserError(f"{self.root}: is not empty; choose another folder, or add --resume or --overwrite")


@dataclass(frozen=True, eq=False)
class FamilyTask:
    """What a run goes out from: the family's members, parted, and the settings; `num_short` members were too short."""

    family: Family
    members: Split
    num_short: int
    settings: FamilySettings

    @classmethod
    def of(cls, family: Family, settings: FamilySettings) -> "FamilyTask":
        """Part the family; UserError where it is too small or too short."""
        fitting, num_short = long_enough(family, settings.prompt)
        return cls(family, split(fitting, settings.holdout, settings.seed), num_short, settings)

    @property
    def prompted(self) -> Sequence[Record]:
        """The members whose beginnings are prompts."""
        return self.members.held_out if self.settings.prompts == "held-out" else self.members.learned

    def facts(self, model: str) -> dict[str, Any]:
        """What adapting depends on, as JSON."""
        text = "\n".join(member.sequence for member in self.family.members)
        adapting = {f.name for f in fields(self.settings)} - set(_WRITING)
        return {
            "model": model,
            "family": self.family.name,
            "family_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "members": len(self.family.members),
            "too_short": self.num_short,
            "learned": len(self.members.learned),
            "held_out": len(self.members.held_out),
            "settings": {name: value for name, value in asdict(self.settings).items() if name in adapting},
        }


def adapt_and_save(folder: FamilyFolder, task: FamilyTask, loaded: LoadedModel, on_step: OnStep) -> Adapted:
    """Adapt a model in fp32 to the family and save it, before anything is written with it."""
    adapted = adapt(loaded.model, loaded.vocab, task.members, task.settings, on_step)
    facts = {**task.facts(loaded.pinned_name), **_course(adapted), "model_sha256": loaded.sha256}
    folder.root.mkdir(parents=True, exist_ok=True)
    _write_held_out(folder.held_out, task.members.held_out)
    provenance = Provenance(folder.root.name, loaded.licence, {"task": ADAPTED_TASK, **facts})
    save_model(loaded.model, loaded.vocab, folder.model, provenance)
    for old in folder.root.glob("designs_t*"):  # of another model, which was to be replaced
        old.unlink()
    write_file_atomically(folder.record, json.dumps(facts, indent=2) + "\n")
    return adapted


def require_same(folder: FamilyFolder, task: FamilyTask, model: str) -> None:
    """Raise UserError where a folder's adapted model is of another family, model, or other settings."""
    found = read_json_object(folder.record)
    for name, value in task.facts(model).items():
        theirs = found.get(name)
        if name == "settings" and isinstance(theirs, dict):
            changed = next((key for key in value if value[key] != theirs.get(key)), None)
            if changed:
                raise UserError(
                    f"--resume: {folder.root} was adapted with {changed.replace('_', ' ')} {theirs.get(changed)}, not "
                    f"{value[changed]}; repeat its options, or choose another folder"
                )
        elif name != "family" and theirs != value:
            raise UserError(f"--resume: {folder.root} was adapted with another {name.replace('_', ' ')} ({theirs})")


@dataclass(frozen=True)
class Written:
    """What was written at one temperature."""

    temperature: float
    proposals: int
    different: int
    mean_log_prob: float | None
    mean_length: float
    file: Path


def write_at(
    folder: FamilyFolder,
    task: FamilyTask,
    loaded: LoadedModel,
    temperature: float,
    filtering: Filtering,
    screening: Screening,
    on_proposal: Callable[[int], None],
) -> Written:
    """Write the proposals of one temperature, filtered and screened, to their two files."""
    name = f"{folder.root.name}/model" if loaded.folder == folder.model else loaded.pinned_name
    made = written(loaded, task.prompted, task.settings, temperature, name, on_proposal)
    kept = list(screening.of(filtering.of(made)))
    folder.root.mkdir(parents=True, exist_ok=True)
    fasta, table = folder.proposals(temperature)
    write_proposals(kept, fasta, table)
    return summary(temperature, kept, fasta)


def summary(temperature: float, kept: Sequence[Proposal], fasta: Path) -> Written:
    """In figures."""
    logs = [proposal.mean_log_prob for proposal in kept if proposal.mean_log_prob is not None]
    return Written(
        temperature,
        len(kept),
        len({proposal.sequence for proposal in kept}),
        sum(logs) / len(logs) if logs else None,
        sum(len(proposal.sequence) for proposal in kept) / max(len(kept), 1),
        fasta,
    )


def _course(adapted: Adapted) -> dict[str, Any]:
    return {
        "parameters_trained": adapted.num_trained,
        "steps": adapted.num_steps,
        "residues_learned": adapted.num_residues,
        "best_epoch": adapted.best_epoch,
        "history": [asdict(epoch) for epoch in adapted.history],
    }


def _write_held_out(path: Path, members: Sequence[Record]) -> None:
    write_file_atomically(path, "".join(f">{member.id}\n{member.sequence}\n" for member in members))
