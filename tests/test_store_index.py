"""Finding proteins of a store: by id and place, whatever the ids, however many shards, from threads and processes."""

import pickle
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openankh
from embedding_samples import embeddings, provenance
from openankh.errors import UserError
from openankh.store import EmbeddingStore, ShardLimits, id_index
from openankh.store.id_index import INDEX_NAME, index_of
from openankh.store.manifest import read_manifest, write_manifest
from openankh.store.shard import id_to_bytes
from store_samples import flip_bit, store_of, write_store

IDS = ["P1", "a/b", "..", "P1", "nul\0", "caf\udce9", "😀", "p1", "", "x" * 10_000, "P1"]


@given(st.lists(st.text(max_size=3), max_size=60))
@settings(max_examples=100, deadline=None)
def test_an_index_gives_the_places_of_every_id_in_order(ids: list[str]) -> None:
    index = index_of(map(id_to_bytes, ids))
    assert (np.diff(index.hashes.astype(object)) >= 0).all()
    for protein_id in {*ids, "absent"}:
        expected = [place for place, other in enumerate(ids) if other == protein_id]
        assert index.candidates(id_to_bytes(protein_id)) == expected


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("collide", [False, True])
def test_ids_are_found_with_and_without_an_index_even_when_all_hashes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_index: bool, collide: bool
) -> None:
    if collide:
        monkeypatch.setattr(id_index, "_digest", lambda name: bytes(8))
    write_store(tmp_path / "s", IDS)
    if not has_index:
        manifest = read_manifest(tmp_path / "s")
        write_manifest(tmp_path / "s", type(manifest)(manifest.provenance, manifest.shards))
        (tmp_path / "s" / INDEX_NAME).unlink()
    store = EmbeddingStore.open(tmp_path / "s")
    assert [store.find(name) for name in ("P1", "a/b", "", "q")] == [(0, 3, 10), (1,), (8,), ()]
    assert [store.id(place) for place in range(len(store))] == IDS
    assert "😀" in store and "q" not in store and 3 not in store
    assert store.repeats() == [3, 10]


def test_a_store_is_opened_by_the_packages_own_name(tmp_path: Path) -> None:
    made = write_store(tmp_path / "s", IDS)
    with openankh.open_store(tmp_path / "s") as store:
        assert repr(store) == f"EmbeddingStore('{tmp_path / 's'}': {len(IDS)} proteins)"
        assert [store.length(place) for place in range(len(store))] == [embedding.length for embedding in made]
        np.testing.assert_array_equal(store["a/b"], made[1].values)
    np.testing.assert_array_equal(store["a/b"], made[1].values)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    store = store_of(tmp_path / "s", IDS)
    path = store.folder / INDEX_NAME
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        flip_bit(path, 20)
    with pytest.raises(UserError, match=rf"{INDEX_NAME}: ") as refusal:
        EmbeddingStore.open(store.folder).find("P1")
    assert "\n" not in str(refusal.value)


FEW_FILES = """
import sys
import numpy as np
import openankh
store = openankh.open_store(sys.argv[1])
rows = np.concatenate(list(store.matrices(keep=True)))
for place in np.random.default_rng(0).permutation(len(store)):
    assert (store[place] == rows[place]).all()
    assert store.find(f"P{place}") == (place,)
assert len(list(store)) == len(store)
print(len(store.manifest.shards))
"""


def test_more_shards_than_files_may_be_open_are_read_all_the_same(tmp_path: Path) -> None:
    write_store(
        tmp_path / "s",
        [f"P{n}" for n in range(200)],
        provenance("mean"),
        limits=ShardLimits(num_residues=1),
        batch=1,
    )
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150)),
    )
    assert (done.stdout, done.stderr) == ("200\n", "")


def test_threads_read_one_store_at_once(tmp_path: Path) -> None:
    ids = [f"P{n}" for n in range(150)]
    of = provenance()
    write_store(tmp_path / "s", ids, of, limits=ShardLimits(num_residues=1), batch=1)
    store, made = EmbeddingStore.open(tmp_path / "s"), embeddings(ids, of)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for place in np.random.default_rng(seed).permutation(len(ids)):
            if not np.array_equal(store[ids[place]], made[place].values):
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_store_travels_to_another_process_by_its_name(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", IDS)
    store[0]
    sent = pickle.dumps(store)
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent)[2], store[2])
