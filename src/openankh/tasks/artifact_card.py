"""The card of a trained predictor: what it predicts, how well, from which model and data, and how to use it."""

from collections.abc import Mapping
from typing import Any

_SHOWN_NAMES = 20
_OF_UNIT = {"protein": "of each protein", "residue": "of each residue", "pair": "of each pair of residues"}
_TARGETS = {
    "classes": "one of {num} classes",
    "labels": "any of {num} labels",
    "number": "a number",
    "contacts": "whether it is a contact",
}


def card(name: str, facts: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Markdown, from what `artifact.json` and `metrics.json` hold."""
    return (
        "\n\n".join([f"# {name}", *_what(facts), *_figures(metrics), *_beside(facts), *_made_of(facts), *_use(name)])
        + "\n"
    )


def _what(facts: Mapping[str, Any]) -> list[str]:
    target, names = facts["target"], facts["target"].get("names", ())
    what = _TARGETS[target["kind"]].format(num=len(names))
    lines = [f"{facts['origin']['title']}: predicts, {_OF_UNIT[facts['head']['unit']]}, {what}."]
    if names:
        shown = ", ".join(f"`{_plain(each)}`" for each in names[:_SHOWN_NAMES])
        lines.append(f"Names: {shown}{', …' if len(names) > _SHOWN_NAMES else ''}")
    return lines


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    """The measured values, each with its interval; nothing that was not measured."""
    rows = [
        f"| {split} | {metric} | {found['value']:.4f} | {found['low']:.4f} to {found['high']:.4f} | {found['num']:,} |"
        for split, measured in metrics.items()
        for metric, found in measured.items()
        if found["value"] is not None
    ]
    if not rows:
        return []
    header = ["| split | metric | value | 95 % interval | proteins |", "|---|---|---|---|---|"]
    note = (
        "Intervals are over resampled proteins. The epoch kept was chosen by the split `valid`, whose figures flatter."
    )
    return ["## How well", "\n".join([*header, *rows]), note]


def _beside(facts: Mapping[str, Any]) -> list[str]:
    """What predictors that know less came to on the same proteins."""
    rows = [
        f"| {_plain(name)} | {split} | {metric} | {found['value']:.4f} | {found['low']:.4f} to {found['high']:.4f} |"
        for name, splits in facts["origin"].get("baselines", {}).items()
        for split, measured in splits.items()
        for metric, found in measured.items()
        if found["value"] is not None
    ]
    if not rows:
        return []
    header = ["| baseline | split | metric | value | 95 % interval |", "|---|---|---|---|---|"]
    return ["## Beside what knows less", "\n".join([*header, *rows])]


def _made_of(facts: Mapping[str, Any]) -> list[str]:
    origin, pre = facts["origin"], facts["preprocessing"]
    splits = ", ".join(f"{name} {num:,}" for name, num in origin["splits"].items())
    how = f"with LoRA of rank {facts['lora']['r']} (`adapter/`)" if "lora" in facts else "frozen"
    how = "trained as a whole (`encoder/`)" if "encoder" in facts else how
    rows = "rows of residues" if pre["pool"] == "residues" else "pooled rows"
    lines = [
        f"- base model `{_plain(pre['model'])}` (SHA-256 `{pre['model_sha256']}`), {how}; layer {pre['layer']}, "
        f"prefix `{pre['prefix'] or 'none'}`, computed in {pre['precision']}, rows kept in {pre['dtype']}",
        f"- head `{facts['head']['name']}`, reading {rows}",
        f"- proteins: {splits or 'not told'}; data `{origin['data_sha256'][:16]}`",
        *(f"- {_plain(note)}" for note in origin["notes"]),
    ]
    if origin["citation"]:
        lines.append(f"- data and protocol: {_plain(origin['citation'])}")
    settings = ", ".join(f"{key} {value}" for key, value in origin["training"].items())
    return ["## Made of", "\n".join([*lines, f"- training: {settings or 'not told'}; openankh {facts['openankh']}"])]


def _use(name: str) -> list[str]:
    return ["## Use", f"```bash\nopenankh predict {_plain(name)} IN.fasta -o predictions.csv\n```"]


def _plain(text: str) -> str:
    """Text of others without what would steer Markdown."""
    return "".join(letter if letter.isprintable() and letter not in "`|<>" else " " for letter in text)
