"""The models that can be named, with what is known of each and whether it is on this machine."""

from dataclasses import dataclass
from typing import Literal

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.hub import cached
from openankh.json_file import read_json_object
from openankh.model_names import resolve
from openankh.provenance import read_manifest
from openankh.published import BUNDLED, PUBLISHED, PublishedModel

Availability = Literal["bundled", "downloaded", "on the hub", "missing"]


@dataclass(frozen=True)
class Listing:
    """One nameable model; counts are parameters, `encoder` those that embedding needs, None where not published.

    `source` is the folder on this machine, or the name on the hub of what is fetched when first used.
    """

    name: str
    parameters: int | None
    encoder: int | None
    licence: str
    available: Availability
    source: str


def listings() -> tuple[Listing, ...]:
    """Every nameable model, the bundled one first; asks no network."""
    return (_bundled(), *map(_published, PUBLISHED))


def _bundled() -> Listing:
    try:
        folder = resolve(BUNDLED)
    except UserError:
        return Listing(BUNDLED, None, None, "", "missing", "install openankh again")
    config = ModelConfig.from_hf(read_json_object(folder / "config.json"))
    manifest = read_manifest(folder)
    assert manifest is not None, "the bundled model has an openankh.json"
    licence = manifest.provenance.licence
    return Listing(BUNDLED, manifest.num_parameters, config.num_encoder_parameters, licence, "bundled", str(folder))


def _published(model: PublishedModel) -> Listing:
    folder = cached(model, trust_pickle=True)
    return Listing(
        name=model.name,
        parameters=model.num_parameters,
        encoder=model.num_encoder_parameters,
        licence=model.licence,
        available="downloaded" if folder else "on the hub",
        source=str(folder or model.hub),
    )
