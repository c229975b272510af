"""What a target can be, as JSON keeps it inside an artifact."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from openankh.tasks.target_space import Classes, Contacts, Labels, Numbers, TargetSpace

_KINDS: Mapping[str, type] = {"classes": Classes, "number": Numbers, "labels": Labels, "contacts": Contacts}


def space_to_json(space: TargetSpace) -> dict[str, Any]:
    """The kind of target with its fields; codes, which nothing predicts, have none."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(space, cls))
    return {"kind": kind, **asdict(space)}


def space_from_json(found: Mapping[str, Any]) -> TargetSpace:
    """What `space_to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
    fields = {name: value for name, value in found.items() if name != "kind"}
    if "names" in fields:
        names = fields["names"]
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("names of classes are texts, at least one")
        fields["names"] = tuple(names)
    return _KINDS[found["kind"]](**fields)
