"""The models that can be named, with what is known of each and whether it is on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.hub import cached, cached_repositories
from openankh.json_file import read_json_object
from openankh.licence import licence_in_card
from openankh.model_names import resolve
from openankh.provenance import read_manifest
from openankh.published import BUNDLED, PUBLISHED, PublishedModel, published_model
from openankh.tokenizer_files import read_vocab
from openankh.vocabulary_check import check_vocabulary

Availability = Literal["bundled", "here", "encoder here", "on the hub", "missing"]


@dataclass(frozen=True)
class Listing:
    """One nameable model; counts are parameters, `encoder` those that embedding needs, None where not published.

    `bytes` is what it takes on this machine, `revision` its commit on the hub: of what is here, else the one that would
    be fetched, None where that is whatever the hub then has. `source` is the folder here, or the repository on the hub.
    """

    name: str
    parameters: int | None
    encoder: int | None
    licence: str
    available: Availability
    bytes: int | None
    revision: str | None
    source: str


def listings() -> tuple[Listing, ...]:
    """Every nameable model, the bundled one first, then what is published, then others of the hub that are here.

    Asks no network.
    """
    return (_bundled(), *map(_published, PUBLISHED), *_others())


def _bundled() -> Listing:
    try:
        folder = resolve(BUNDLED)
    except UserError:
        return Listing(BUNDLED, None, None, "", "missing", None, None, "install openankh again")
    config = ModelConfig.from_hf(read_json_object(folder / "config.json"))
    manifest = read_manifest(folder)
    assert manifest is not None, "the bundled model has an openankh.json"
    counts = manifest.num_parameters, config.num_encoder_parameters
    licence = manifest.provenance.licence
    return Listing(BUNDLED, *counts, licence, "bundled", folder_bytes(folder), None, str(folder))


def _published(model: PublishedModel) -> Listing:
    whole = cached(model.hub, revision=model.revision, trust_pickle=True)
    folder = whole or cached(model.hub, revision=model.revision, part="encoder", trust_pickle=True)
    return Listing(
        name=model.name,
        parameters=model.num_parameters,
        encoder=model.num_encoder_parameters,
        licence=model.licence,
        available=("here" if whole else "encoder here") if folder else "on the hub",
        bytes=folder_bytes(folder) if folder else None,
        revision=folder.name if folder else model.revision,
        source=str(folder or model.hub),
    )


def _others() -> Iterator[Listing]:
    """Models of the hub in the cache that are Ankhs by their config and tokenizer, whoever published them."""
    for repository in cached_repositories():
        folder = None if published_model(repository) else cached(repository, trust_pickle=True)
        if folder is None:
            continue
        try:
            content = read_json_object(folder / "config.json")
            config = ModelConfig.from_hf(content)
            check_vocabulary(read_vocab(folder), content, folder)
        except UserError:
            continue
        counts = config.num_parameters, config.num_encoder_parameters
        licence = licence_in_card(folder)
        yield Listing(repository, *counts, licence, "here", folder_bytes(folder), folder.name, str(folder))


def folder_bytes(folder: Path) -> int:
    """The bytes of the files in a folder, those that links point to among them."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
