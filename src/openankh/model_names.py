"""From what a user calls a model (bundled, published or a folder) to the folder that holds it."""

import difflib
import os
from pathlib import Path

from openankh.errors import UserError
from openankh.hub import fetch
from openankh.published import BUNDLED, PUBLISHED, PublishedModel

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"


def resolve(name_or_folder: Path | str, *, revision: str | None = None, trust_pickle: bool = False) -> Path:
    """The folder of a model: the bundled one, a local folder, or a published one, fetched from the hub when not cached.

    The bundled name comes first, so that the default never depends on the folder one stands in; then folders; then
    published names (`ankh-base` or `ElnaggarLab/ankh-base`) in the given `revision`. With `trust_pickle` a model that
    is published as a pickle only is fetched as well. Raises UserError for what is none of these.
    """
    name = str(name_or_folder)
    if name == BUNDLED:
        return _bundled()
    if name and os.path.isdir(name):
        return Path(name)
    if model := _published(name):
        return fetch(model, revision=revision, trust_pickle=trust_pickle)
    if os.path.exists(name):
        raise UserError(f"model {name}: a file; name the folder that holds the model's config.json")
    raise UserError(f"model {name!r}: no such name or folder; {_suggestion(name)}")


def _bundled() -> Path:
    folder = _BUNDLED_FOLDER / BUNDLED
    if not folder.is_dir():
        raise UserError(
            f"model {BUNDLED!r}: not part of this installation; install openankh again or name another model"
        )
    return folder


def _published(name: str) -> PublishedModel | None:
    return next((model for model in PUBLISHED if name in (model.name, model.hub)), None)


def _suggestion(name: str) -> str:
    known = [BUNDLED, *(model.name for model in PUBLISHED)]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known names: {', '.join(known)}"
