"""The index of a store, kept beside it: used again while the store is the same, built anew when it is not.

Layout of `STORE.index/`, one pair of files for each metric and layer:

    euclidean-layer8.faiss     faiss's own format
    euclidean-layer8.json      what it is an index of, and its hash; written last
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openankh.errors import UserError
from openankh.files import atomic_path, sha256_of, write_file_atomically
from openankh.json_file import read_json_object
from openankh.search.approximate import ApproximateSearch, IndexFacts, OnShare, build_index, faiss_module
from openankh.search.metric import Metric
from openankh.search.vectors import StoreVectors
from openankh.store import sole_writer
from openankh.store.manifest import MANIFEST_NAME

FORMAT, VERSION = "openankh-index", 1


def index_folder(store: Path) -> Path:
    """Where the indexes of a store lie."""
    return store.with_name(f"{store.name}.index")


def open_index(vectors: StoreVectors, metric: Metric) -> ApproximateSearch | None:
    """The index beside the store; None when there is none of exactly this store, layer and metric, or it is damaged."""
    faiss = faiss_module()
    path = _path(vectors, metric)
    try:
        content = read_json_object(path.with_suffix(".json"))
        if any(content.get(name) != value for name, value in _identity(vectors, metric).items()):
            return None
        if path.stat().st_size != content["bytes"] or sha256_of(path) != content["sha256"]:
            return None
        facts = IndexFacts(**content["index"])
        return ApproximateSearch(vectors, faiss.read_index(str(path), faiss.IO_FLAG_MMAP), facts)
    except (UserError, OSError, KeyError, TypeError, RuntimeError):
        return None


def make_index(vectors: StoreVectors, metric: Metric, on_share: OnShare = lambda share: None) -> ApproximateSearch:
    """Build the index and write it beside the store; UserError when that cannot be written."""
    faiss = faiss_module()
    path = _path(vectors, metric)
    _make_folder(path.parent)
    with sole_writer(path):
        search = build_index(vectors, metric, on_share)
        path.with_suffix(".json").unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            faiss.write_index(search.index, str(temporary))
        facts = {"bytes": path.stat().st_size, "sha256": sha256_of(path), "index": asdict(search.facts)}
        write_file_atomically(
            path.with_suffix(".json"), json.dumps({**_identity(vectors, metric), **facts}, indent=1) + "\n"
        )
    return search


def _path(vectors: StoreVectors, metric: Metric) -> Path:
    return index_folder(vectors.store.folder.resolve()) / f"{metric}-layer{vectors.layer}.faiss"


def _identity(vectors: StoreVectors, metric: Metric) -> Mapping[str, Any]:
    """What an index must say of itself to serve these vectors."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "store": sha256_of(vectors.store.folder / MANIFEST_NAME),
        "layer": vectors.layer,
        "metric": metric,
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write the index {folder}: {reason}; search without --approximate") from None
