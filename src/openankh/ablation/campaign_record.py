"""OUT/ablation.json: what an ablation was begun with, and the check that it goes on with the same."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openankh import __version__
from openankh.ablation.options import AblationOptions
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object
from openankh.pretraining.recipes import Recipe, differences, to_json
from openankh.pretraining.run_record import environment

NAME = "ablation.json"
FORMAT, VERSION = "openankh-ablation", 1
_OPTIONS = {"flops": "--flops", "minutes_each": "--minutes-each", "scale": "--scale", "probe_size": "--probe-size"}


@dataclass(frozen=True)
class CampaignRecord:
    """What all runs of an ablation share: `budget` are the training FLOPs of each, `flops` and `minutes_each` how the
    caller gave them (None: not at all), `corpora` fingerprints by identity, `baseline` its recipe as JSON,
    `composition_loss` what residue frequencies alone get of the masked loss.
    """

    scale: str
    budget: float
    flops: float | None
    minutes_each: float | None
    probe_size: str
    corpora: Mapping[str, str]
    baseline: Mapping[str, Any]
    composition_loss: float
    code_version: str = __version__
    environment: Mapping[str, Any] = field(default_factory=environment)


def write_record(out: Path, record: CampaignRecord) -> None:
    """Write the record, whole or not at all."""
    write_file_atomically(out / NAME, json.dumps({"format": FORMAT, "version": VERSION, **asdict(record)}, indent=2))


def read_record(out: Path) -> CampaignRecord | None:
    """The record of the ablation in a folder; None where there is none, UserError where it is damaged."""
    if not (out / NAME).exists():
        return None
    content = read_json_object(out / NAME)
    if content.pop("format", None) != FORMAT:
        raise UserError(f"{out / NAME}: not a record of openankh ablate; choose another folder with --out")
    if (version := content.pop("version", None)) != VERSION:
        raise UserError(f"{out / NAME}: its version is {version!r}, this program reads {VERSION}")
    try:
        return CampaignRecord(**content)
    except TypeError:
        raise UserError(f"{out / NAME}: damaged; begin the ablation anew in another folder") from None


def check_same(record: CampaignRecord, options: AblationOptions, fingerprints: Mapping[str, str], base: Recipe) -> None:
    """Raise UserError, naming the field, where an ablation would go on with something else than it was begun with.

    A budget that is not given again is the one it was begun with; further experiments, seeds and corpora may come.
    """
    for name, option in _OPTIONS.items():
        ours, theirs = getattr(options, name), getattr(record, name)
        if ours != theirs and ours is not None:
            begun = f"with {option} {theirs:g}" if isinstance(theirs, float) else f"with {option} {theirs}"
            raise _changed(options.out, f"without {option}" if theirs is None else begun, option)
    for identity, fingerprint in fingerprints.items():
        if record.corpora.get(identity, fingerprint) != fingerprint:
            option = "--corpus" if identity == "50" else f"--corpus-{identity}"
            raise _changed(options.out, f"with another {option}", option)
    if keys := differences(to_json(base), record.baseline):
        raise _changed(options.out, f"with another {', '.join(keys[:3])}", "settings")


def _changed(out: Path, begun: str, what: str) -> UserError:
    return UserError(f"{out}: was begun {begun}; go on with the same {what}, or choose another folder with --out")
