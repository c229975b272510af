"""Published files by the name of the table they become: fetched once, hashed, turned into our layout, cached.

The cache is `data` in `$XDG_CACHE_HOME/openankh` (`~/.cache/openankh`). The SHA-256 of what was fetched is kept beside
each table; when a table is fetched anew and the hash differs, it is refused.
"""

import csv
import gzip
import hashlib
import io
import json
import os
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.tasks.data_folder import DataFolder, DataSource
from openankh.tasks.published_forms import FORMS, Rows

_LIST = Path(__file__).with_name("published.toml")
_TIMEOUT_SECONDS = 60
_MOST_BYTES = 1 << 30

Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class PublishedTable:
    """A table of the layout, and what it is made of."""

    file: str
    urls: tuple[str, ...]
    form: str
    part: str


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """The tables that can be fetched, by their place in the layout."""
    found = tomllib.loads(_LIST.read_text(encoding="utf-8"))["tables"]
    return {
        each["file"]: PublishedTable(each["file"], tuple(each["urls"]), each["form"], each["part"]) for each in found
    }


def cache_folder() -> Path:
    """Where fetched data is kept."""
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "openankh" / "data"


def download(url: str) -> bytes:
    """The bytes at an address; UserError in one line where it cannot be reached."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "openankh"}), timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read(_MOST_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(
            f"{url}: cannot be fetched ({reason}); check the network, or give a local folder of the data (docs/data.md)"
        ) from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"{url}: over {_MOST_BYTES >> 20:,} MiB; that is not the file meant")
    return content


@dataclass(frozen=True)
class PublishedFiles:
    """Published data as a source of files; nothing is fetched with `offline`, or twice."""

    folder: Path = field(default_factory=cache_folder)
    offline: bool = False
    fetch: Fetch = download

    def path(self, file: str) -> Path:
        """Where a table lies, fetched if it must be; UserError for one that is not published in one piece."""
        place = self.folder / file
        if place.is_file():
            return place
        table = published_tables().get(file)
        if table is None:
            raise UserError(
                f"{file}: is not published in this form; docs/data.md tells how to make it; name its folder with --data"
            )
        if self.offline:
            raise UserError(f"{file}: not fetched yet, and --offline forbids it; run once without, or name a folder")
        self._make(table, place)
        return place

    def has(self, file: str) -> bool:
        """Whether it is here or can be fetched."""
        return (self.folder / file).is_file() or file in published_tables()

    def _make(self, table: PublishedTable, place: Path) -> None:
        contents = [self.fetch(url) for url in table.urls]
        hashes = {url: hashlib.sha256(each).hexdigest() for url, each in zip(table.urls, contents, strict=True)}
        place.parent.mkdir(parents=True, exist_ok=True)
        record = place.with_name(f"{place.name}.json")
        _require_same(table, hashes, record)
        rows = _rows(table, contents)
        write_file_atomically(record, json.dumps({"sha256": hashes, "rows": len(rows) - 1}, indent=2) + "\n")
        write_file_atomically(place, _packed(rows))


def data_source(folder: Path | None, offline: bool = False) -> DataSource:
    """The user's folder of data, or published files where none is given."""
    return PublishedFiles(offline=offline) if folder is None else DataFolder(folder)


def _require_same(table: PublishedTable, hashes: Mapping[str, str], record: Path) -> None:
    """Refuse what is not what was fetched before."""
    if not record.is_file():
        return
    before = json.loads(record.read_text())["sha256"]
    changed = next((url for url, found in hashes.items() if before.get(url, found) != found), None)
    if changed is not None:
        raise UserError(
            f"{changed}: is not what it was when {table.file} was first made of it; if right, remove {record}"
        )


def _rows(table: PublishedTable, contents: Sequence[bytes]) -> Rows:
    try:
        rows = FORMS[table.form](contents, table.part)
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile, UserError) as error:
        raise UserError(f"{table.urls[0]}: not written as expected ({error}), so no {table.file} can be made") from None
    if len(rows) < 2:
        raise UserError(f"{table.urls[0]}: holds no proteins for {table.file}; it is not the file meant")
    return rows


def _packed(rows: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)
