"""The predictors that come with the package: found by name, listed, ready offline."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from openankh.errors import UserError
from openankh.json_file import read_json_object

FOLDER = Path(__file__).parent.parent / "bundled" / "predictors"
_DESCRIPTION, _METRICS = "artifact.json", "metrics.json"


@dataclass(frozen=True)
class Shipped:
    """A predictor of the package: what it predicts of what, on which head, and how good its test figures are."""

    name: str
    title: str
    unit: str
    labels: tuple[str, ...]
    head: str
    model: str
    tests: tuple[str, ...]


def shipped_names() -> tuple[str, ...]:
    """The names of the predictors that come with the package, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{_DESCRIPTION}")))


def shipped_predictors() -> tuple[Shipped, ...]:
    """What each of them is."""
    return tuple(map(_shipped, shipped_names()))


def predictor_folder(name_or_folder: Path | str) -> Path:
    """Where a predictor lies: one of the package by its name, else the folder itself.

    Names of the package come first, so that they mean the same wherever one stands; `./NAME` is the folder. Raises
    UserError with the nearest name for what is neither.
    """
    name, path = str(name_or_folder), Path(name_or_folder)
    if name in shipped_names():
        return FOLDER / name
    if path.is_dir() or path.name != name:
        return path
    near = get_close_matches(name, shipped_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"the package has {', '.join(shipped_names()) or 'none'}"
    raise UserError(f"{name}: no such artifact; give a folder that `openankh finetune` wrote, or a name: {hint}")


def _shipped(name: str) -> Shipped:
    facts, metrics = (read_json_object(FOLDER / name / file) for file in (_DESCRIPTION, _METRICS))
    tests = tuple(
        f"{split} {metric} {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        for split, measured in metrics.items()
        if split.startswith("test")
        for metric, found in list(measured.items())[:1]
    )
    return Shipped(
        name,
        facts["origin"]["title"],
        facts["head"]["unit"],
        tuple(facts["target"].get("names", ())),
        facts["head"]["name"],
        facts["preprocessing"]["model"],
        tests,
    )
