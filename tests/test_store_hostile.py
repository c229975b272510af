"""Stores that somebody damaged or made up: one line, at once, nothing outside the folder, no memory filled."""

import copy
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedding_samples import provenance
from openankh.errors import UserError
from openankh.store import EmbeddingStore
from openankh.store.description import describe_store
from openankh.store.manifest import MANIFEST_NAME, _checksum
from openankh.store.verification import verify_store
from store_samples import files_of, write_store

IDS = [f"P{number}" for number in range(8)]
SHARD = "shard-000000.safetensors"


def seal(folder: Path, content: dict[str, Any]) -> None:
    """Write a manifest whose checksum is right, whatever it says."""
    content.pop("checksum", None)
    (folder / MANIFEST_NAME).write_text(json.dumps({**content, "checksum": _checksum(content)}))


def use(folder: Path) -> None:
    """All that a reader may do with a store."""
    store = EmbeddingStore.open(folder)
    for name in ("P3", "P0"):
        store.find(name)
    for place in range(len(store)):
        assert isinstance(store.id(place), str) and store.length(place) > 0
        assert store[place].dtype == np.float32
    assert sum(1 for _ in store.items()) == len(store)
    assert sum(map(len, store.matrices())) == len(store)
    describe_store(folder)
    verify_store(folder)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("hostile") / "s"
    write_store(folder, IDS, provenance("mean"))
    return folder, json.loads((folder / MANIFEST_NAME).read_text()), files_of(folder)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from([2**62, 2**63, 10**30, -1, 0.5, "", "x", "fp32", "../out", "mean", "residues", "decoder"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["layer", "name", "x"]), inner),
    max_leaves=5,
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places_in(value[key], (*path, key)))]


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_sealed_manifest_says_it_is_read_or_refused_in_one_line(
    manifest: tuple[Path, dict[str, Any], dict[str, bytes]], data: st.DataObject
) -> None:
    folder, content, files = manifest
    changed = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, key = data.draw(st.sampled_from([place for place in places_in(changed) if place]))
        parent = changed
        for step in path:
            parent = parent[step]
        if data.draw(st.booleans()) and isinstance(parent, dict):
            del parent[key]
        else:
            parent[key] = data.draw(anything)
    seal(folder, changed)
    try:
        use(folder)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600, error  # noqa: PT017
    finally:
        (folder / MANIFEST_NAME).write_bytes(files[MANIFEST_NAME])


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_a_shard_has_it_is_read_or_refused_in_one_line(
    manifest: tuple[Path, dict[str, Any], dict[str, bytes]], place: int, noise: bytes, cut: bool
) -> None:
    folder, content, files = manifest
    whole = files[SHARD]
    place %= len(whole)
    damaged = whole[:place] + noise + (b"" if cut else whole[place + len(noise) :])
    changed = copy.deepcopy(content)
    changed["shards"][0]["size"] = len(damaged)
    seal(folder, changed)
    (folder / SHARD).write_bytes(damaged)
    try:
        use(folder)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600, error  # noqa: PT017
    finally:
        for name, file in files.items():
            (folder / name).write_bytes(file)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "shard-000000.safetensors/../../outside", ".."])
@pytest.mark.parametrize("entry", ["shard", "index"])
def test_no_name_in_a_manifest_leads_outside_the_store(tmp_path: Path, name: str, entry: str) -> None:
    write_store(tmp_path / "s", IDS)
    content = json.loads((tmp_path / "s" / MANIFEST_NAME).read_text())
    (content["index"] if entry == "index" else content["shards"][0])["name"] = name
    seal(tmp_path / "s", content)
    for read in (EmbeddingStore.open, verify_store, describe_store):
        with pytest.raises(UserError, match="malformed"):
            read(tmp_path / "s")


BOMBS = {
    "many small values": b'{"format": "openankh-embeddings", "x": [' + b"0," * 15_000_000 + b"0]}",
    "many brackets": b"[" * 20_000_000,
    "many empty lists": b'{"x": [' + b"[]," * 10_000_000 + b"0]}",
    "too large": b" " * 40_000_000,
    "deep": b'{"x":' * 100_000,
    "a long number": b'{"x": ' + b"9" * 10_000_000 + b"}",
}

REFUSE = """
import resource, sys
from openankh.errors import UserError
from openankh.store import EmbeddingStore
from openankh.store.manifest import manifest_format
resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))
for read in (EmbeddingStore.open, lambda folder: manifest_format(folder / "manifest.json")):
    from pathlib import Path
    try:
        read(Path(sys.argv[1]))
    except UserError as error:
        print(str(error).count("\\n"), len(str(error)) < 600)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_manifest_that_would_fill_the_memory_is_refused(tmp_path: Path, bomb: str) -> None:
    write_store(tmp_path / "s", IDS)
    (tmp_path / "s" / MANIFEST_NAME).write_bytes(BOMBS[bomb])
    command = [sys.executable, "-c", REFUSE, str(tmp_path / "s")]
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # noqa: E731
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert (done.stdout, done.stderr) == ("0 True\n0 True\n", "")


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'"x"',
        b'{"format": "openankh-embeddings", "version": 2, "provenance": [], "limits": {}}',
        b'{"format": "openankh-embeddings", "version": 2, "provenance": {"layer": 1}, "limits": {}}',
        b"HEADER-WITH-LIMITS",
        b"\xff\xfe",
    ],
)
def test_a_journal_that_is_none_is_refused_in_one_line(tmp_path: Path, line: bytes) -> None:
    header = {"format": "openankh-embeddings", "version": 2, "provenance": provenance().to_json()}
    line = line.replace(b"HEADER-WITH-LIMITS", json.dumps({**header, "limits": {"num_bytes": "1"}}).encode())
    (tmp_path / "s.partial").mkdir()
    (tmp_path / "s.partial" / "journal.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"^[^\n]*not a journal this openankh can continue[^\n]*--overwrite"):
        write_store(tmp_path / "s", IDS)


def test_a_pipe_or_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate((MANIFEST_NAME, SHARD, "ids.safetensors")):
        folder = tmp_path / str(number)
        write_store(folder, IDS)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(UserError):
            EmbeddingStore.open(folder)
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(UserError):
            EmbeddingStore.open(folder)
