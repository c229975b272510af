"""The licence of a model's weights: read from its model card, told once a process."""

import logging
import re
from pathlib import Path

from openankh.errors import UserError
from openankh.json_file import read_limited

MODEL_CARD = "README.md"
_MAX_CARD_BYTES = 4 << 20

_LOG = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()


def licence_in_card(folder: Path) -> str:
    """The licence that the model card in a folder states in its metadata, "" where there is no card or it has none.

    As the hub spells it, in lower case; where the hub knows no short name (`other`) the name that the card gives.
    """
    if not (folder / MODEL_CARD).is_file():
        return ""
    try:
        text = read_limited(folder / MODEL_CARD, _MAX_CARD_BYTES).decode("utf-8", "replace")
    except UserError:
        return ""  # a card that cannot be read says nothing; the model can be used
    metadata = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text.replace("\r\n", "\n"), re.DOTALL)
    stated = {key: _value(metadata[1], key) if metadata else "" for key in ("license", "license_name")}
    named_apart = stated["license"].lower() in ("", "other", "unknown") and stated["license_name"]
    return stated["license_name"] if named_apart else stated["license"]


def _value(metadata: str, key: str) -> str:
    """A plain value, or the first of a list, in the YAML between the marks of a card."""
    found = re.search(rf"^{key}:[ \t]*(?:\[|\n[ \t]*-[ \t]*)?[ \t]*(['\"]?)([^\n'\"\],#]*)\1", metadata, re.MULTILINE)
    return " ".join(found[2].split())[:80] if found else ""


def tell_licence(name: str, licence: str) -> None:
    """Log under which licence the weights of a model are, the first time in a process.

    One that forbids commercial use is logged as a warning, which Python shows on standard error unless told otherwise;
    any other as information.
    """
    if (name, licence) in _told:
        return
    _told.add((name, licence))
    if not licence:
        _LOG.info("%s: its weights come without a stated licence; ask who made them", name)
    elif is_non_commercial(licence):
        _LOG.warning("%s: its weights are under %s, which allows no commercial use", name, licence)
    else:
        _LOG.info("%s: its weights are under %s", name, licence)


def is_non_commercial(licence: str) -> bool:
    """Whether a licence, by its short name, is a Creative Commons one for non-commercial use."""
    return "nc" in licence.lower().split("-")
