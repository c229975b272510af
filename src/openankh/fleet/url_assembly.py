"""A store put together in an object store, or any other place that fsspec reaches by a URL such as s3://bucket/store.

Nothing can be renamed there for free and no lock be held, so shards are written under their final names and each is
taken up by a receipt beside it. `begun.json` says what the unfinished store is and which run writes it; `manifest.json`
comes last. A run that begins takes the place over: workers of an older one see that before they write, and stop.
"""

import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from openankh.errors import UserError
from openankh.fleet.landing import ATTEMPT, Landed, attempt_name
from openankh.fleet.receipts import Receipt, chain, number_of, parse_receipt, receipt_name
from openankh.fleet.url_folder import UrlFolder
from openankh.store import Provenance, ShardLimits
from openankh.store.manifest import MANIFEST_NAME, Manifest, write_manifest
from openankh.store.provenance import parse_provenance
from openankh.store.shard import ShardContent, shard_name, write_shard

BEGUN_NAME = "begun.json"


@dataclass(frozen=True)
class UrlLanding:
    """A URL that workers write to, for as long as no other run has taken it over."""

    folder: UrlFolder
    run: str

    def land(self, number: int, first: int, content: ShardContent, provenance: Provenance) -> Landed:
        """Write the shard of a part, whole or not at all."""
        with tempfile.TemporaryDirectory(prefix="openankh-") as scratch:
            path = Path(scratch) / shard_name(number)
            entry = write_shard(path, content, provenance)
            begun = self.folder.read(BEGUN_NAME)
            if begun is None or json.loads(begun).get("run") != self.run:
                raise UserError(f"{self.folder.url}: another run has taken it over; wait for it, or write elsewhere")
            self.folder.upload(path, entry.name)
        return Landed(number, first, entry, entry.name)

    def attempt(self, number: int) -> int:
        """Note down that a worker begins with a part; says how many had begun with it before."""
        before = 0
        while self.folder.read(attempt_name(number, before)) is not None:
            before += 1
        self.folder.write(attempt_name(number, before), "")
        return before


class UrlAssembly:
    """A store behind a URL; see `openankh.fleet.assembly.Assembly`."""

    number = first = 0

    def __init__(self, landing: UrlLanding, limits: ShardLimits) -> None:
        self.landing, self.limits = landing, limits
        self.kept: Mapping[int, Receipt] = dict(_read_receipts(landing.folder))
        self._receipts = dict(self.kept)

    @property
    def num_records(self) -> int:
        """Proteins of the shards taken up so far, those of earlier runs included."""
        return sum(receipt.entry.num_records for receipt in self._receipts.values())

    @property
    def num_residues(self) -> int:
        """Residues of those proteins."""
        return sum(receipt.entry.num_residues for receipt in self._receipts.values())

    def take(self, landed: Landed) -> None:
        """Take up a shard; when this returns it is the store's, whatever happens."""
        receipt = Receipt(landed.first, landed.entry)
        self.landing.folder.write(receipt_name(landed.number), receipt.to_json())
        self._receipts[landed.number] = receipt

    def finish(self, provenance: Provenance) -> None:
        """Write the manifest, once every part was taken up."""
        folder = self.landing.folder
        shards, sizes = chain(self._receipts, folder.url), folder.sizes()
        for shard in shards:
            if sizes.get(shard.name) != shard.size:
                raise UserError(f"{folder.url}/{shard.name}: missing or cut short; run the same command again")
        with tempfile.TemporaryDirectory(prefix="openankh-") as scratch:
            write_manifest(Path(scratch), Manifest(provenance, shards))
            folder.upload(Path(scratch) / MANIFEST_NAME, MANIFEST_NAME)
        for name in sizes.keys() - {shard.name for shard in shards}:
            folder.remove(name)


@contextmanager
def assembling_url(
    folder: UrlFolder, provenance: Provenance, limits: ShardLimits, *, overwrite: bool = False
) -> Iterator[UrlAssembly]:
    """Put a store together behind a URL, going on with an unfinished one of the same provenance.

    Raises UserError for what stands there already, and naming the first field in which an unfinished store differs;
    `overwrite` removes the one and the other at once.
    """
    begun = folder.read(BEGUN_NAME)
    _require_free(folder, begun, overwrite)
    if begun is not None and not overwrite:
        limits = _continued(folder, begun, provenance)
    if overwrite:
        _clear(folder)
    for name in folder.sizes():
        if name.startswith(ATTEMPT):
            folder.remove(name)
    folder.make()
    run = uuid.uuid4().hex
    facts = {"run": run, "provenance": provenance.to_json(), "limits": asdict(limits)}
    folder.write(BEGUN_NAME, json.dumps(facts) + "\n")
    yield UrlAssembly(UrlLanding(folder, run), limits)


def _require_free(folder: UrlFolder, begun: bytes | None, overwrite: bool) -> None:
    """Refuse what stands there already, unless it is ours and may be replaced or gone on with."""
    names = folder.sizes().keys()
    foreign = sorted(name for name in names if not _is_ours(name))
    if foreign:
        raise UserError(f"{folder.url}: holds {foreign[0]}, which is not of an embedding store; choose another place")
    if MANIFEST_NAME in names and not overwrite:
        raise UserError(f"{folder.url}: exists already; choose another name or add --overwrite")
    if names and begun is None and not overwrite:
        raise UserError(f"{folder.url}: holds shards of no known run; add --overwrite to begin again")


def _is_ours(name: str) -> bool:
    return name in (BEGUN_NAME, MANIFEST_NAME) or name.startswith(("shard-", ATTEMPT))


def _continued(folder: UrlFolder, begun: bytes, provenance: Provenance) -> ShardLimits:
    """The limits of the unfinished store, when it is of this provenance."""
    try:
        content = json.loads(begun)
        before, limits = parse_provenance(content["provenance"]), ShardLimits(**content["limits"])
    except (ValueError, KeyError, TypeError, UserError):
        raise UserError(f"{folder.url}/{BEGUN_NAME}: not readable; add --overwrite to begin again") from None
    for name, there, here in before.differences(provenance):
        raise UserError(
            f"{folder.url} was begun with {name} {there}, this run has {here}: "
            "repeat the first run's command to continue it, or add --overwrite to begin again"
        )
    return limits


def _clear(folder: UrlFolder) -> None:
    """Remove a store, its manifest first, so that no half of it looks whole."""
    for name in sorted(folder.sizes(), key=lambda name: name != MANIFEST_NAME):
        folder.remove(name)


def _read_receipts(folder: UrlFolder) -> Iterator[tuple[int, Receipt]]:
    """The receipts of shards that are there with the size written."""
    sizes = folder.sizes()
    for name in sizes:
        number = number_of(name)
        receipt = parse_receipt(folder.read(name) or b"", number) if number is not None else None
        if number is not None and receipt and sizes.get(receipt.entry.name) == receipt.entry.size:
            yield number, receipt
