"""From what a user calls a model (bundled, published, any of the hub, a folder) to the folder that holds it."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from openankh.errors import UserError
from openankh.hub import fetch, origin
from openankh.licence import licence_in_card
from openankh.published import BUNDLED, PUBLISHED, PublishedModel, published_model
from openankh.weight_files import Part

_BUNDLED_FOLDER = Path(__file__).parent / "bundled"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


@dataclass(frozen=True)
class ModelName:
    """What a user calls a model on the hub: its repository, the revision asked for, what is published of it."""

    name: str
    repository: str
    revision: str | None
    published: PublishedModel | None


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies: its folder and, of one from the hub, the repository and the very commit in that folder."""

    name: str
    folder: Path
    repository: str = ""
    commit: str = ""
    published: PublishedModel | None = None

    @property
    def pinned_name(self) -> str:
        """The name under which these very weights are found again: with the commit, for a model of the hub."""
        name = self.published.name if self.published else self.repository
        return f"{name}@{self.commit}" if self.commit else self.name

    @property
    def source(self) -> str:
        """`ORGANISATION/NAME@COMMIT` of a model of the hub, "" of any other."""
        return f"{self.repository}@{self.commit}" if self.commit else ""

    @property
    def is_published(self) -> bool:
        """Whether a published model was asked for by its name: then its weights may be a pickle of tensors."""
        return self.published is not None and self.name == self.published.name

    def licence(self, stated: str = "") -> str:
        """The licence of the weights: as `openankh.json` states it, else the model card or the table of models."""
        known = self.published.licence if self.published else ""
        in_card = "" if stated else licence_in_card(self.folder)
        return stated or (known if in_card.lower() == known.lower() else in_card) or known


def resolve(
    name_or_folder: Path | str,
    *,
    revision: str | None = None,
    part: Part = "all",
    trust_pickle: bool = False,
    offline: bool = False,
) -> Path:
    """The folder of a model, as `locate` finds it."""
    return locate(name_or_folder, revision=revision, part=part, trust_pickle=trust_pickle, offline=offline).folder


def locate(
    name_or_folder: Path | str,
    *,
    revision: str | None = None,
    part: Part = "all",
    trust_pickle: bool = False,
    offline: bool = False,
) -> ModelPlace:
    """Where a model is: the bundled one, a local folder, or one of the hub, fetched when it is not on this machine.

    The bundled name comes first, so that the default never depends on the folder one stands in; then folders; then
    published names (`ankh-base`) and any other of the hub (`ORGANISATION/NAME`), both with `@REVISION` where not the
    newest is wanted; `revision` says the same. `part="encoder"` fetches of weights in shards only the encoder's.
    `trust_pickle` fetches what is published as a pickle only, which published names need not: they are checked in any
    case. `offline` fetches nothing. Raises UserError for what is none of these or cannot be fetched.
    """
    name = str(name_or_folder)
    if name == BUNDLED:
        _refuse_revision(name, revision)
        return ModelPlace(BUNDLED, _bundled())
    if name and os.path.isdir(name):
        _refuse_revision(name, revision)
        return _folder(Path(name))
    if os.path.exists(name):
        raise UserError(f"model {name}: a file; name the folder that holds the model's config.json")
    wanted = parse_name(name, revision)
    folder = fetch(
        wanted.repository,
        revision=wanted.revision,
        part=part,
        trust_pickle=trust_pickle or wanted.published is not None,
        offline=offline,
    )
    return ModelPlace(wanted.name, folder, wanted.repository, folder.name, wanted.published)


def parse_name(name: str, revision: str | None = None) -> ModelName:
    """What a name of the hub stands for; UserError, with the nearest name, for what can be none."""
    bare, at, revision_in_name = name.partition("@")
    if bare == BUNDLED:
        _refuse_revision(bare, revision_in_name)
    published = published_model(bare)
    if published is None and not _REPOSITORY.fullmatch(bare):
        raise UserError(f"model {name!r}: no such name or folder; {_suggestion(bare)}")
    if at and revision not in (None, revision_in_name):
        raise UserError(f"model {name}: asks for revision {revision_in_name!r} and for {revision!r}; name one of them")
    wanted = revision_in_name if at else revision
    if wanted is not None and not _REVISION.fullmatch(wanted):
        raise UserError(f"model {name}: {wanted[:60]!r} is no revision; name a branch, a tag or a commit")
    if published is None:
        return ModelName(bare, bare, wanted, None)
    return ModelName(published.name, published.hub, wanted or published.revision, published)


def _bundled() -> Path:
    folder = _BUNDLED_FOLDER / BUNDLED
    if not folder.is_dir():
        raise UserError(
            f"model {BUNDLED!r}: not part of this installation; install openankh again or name another model"
        )
    return folder


def _folder(folder: Path) -> ModelPlace:
    repository, commit = origin(folder) or ("", "")
    return ModelPlace(str(folder), folder, repository, commit, published_model(repository))


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise UserError(f"model {name}: only models of the hub have revisions; leave {revision!r} out")


def _suggestion(name: str) -> str:
    known = [BUNDLED, *(model.name for model in PUBLISHED)]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    others = f"known names: {', '.join(known)}; others of the hub as ORGANISATION/NAME"
    return f"did you mean {near[0]}?" if near else others
