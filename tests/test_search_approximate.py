"""Approximate search: most of the exact neighbours at exact distances; an index serves only what it was built of."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openankh.errors import UserError
from openankh.search import approximate
from openankh.search.approximate import ApproximateSearch, build_index
from openankh.search.exact import ExactSearch
from openankh.search.identity import OwnPlace
from openankh.search.index_file import index_folder, make_index, open_index
from openankh.search.metric import METRICS, Metric, QueryVectors
from openankh.search.vectors import ArrayVectors, StoreVectors
from search_samples import families, write_vectors

faiss = pytest.importorskip("faiss", reason="faiss is not installed (the extra `search`)")


@pytest.fixture(autouse=True)
def one_faiss_thread() -> None:
    faiss.omp_set_num_threads(1)


@pytest.mark.parametrize("metric", METRICS)
def test_most_of_the_nearest_are_found_and_their_distances_are_exact(metric: Metric) -> None:
    vectors = ArrayVectors(families(4000, 16))
    search = build_index(vectors, metric)
    queries = families(4000, 16)[::40] + np.float32(0.01)
    found, exact = search.search(queries, 5), ExactSearch(vectors, metric).search(queries, 5)
    is_same = found.places == exact.places
    assert is_same.mean() > 0.9
    np.testing.assert_array_equal(found.distances[is_same], exact.distances[is_same])
    assert search.facts.recall >= 0.9 and 1 < search.facts.num_probes <= search.facts.num_lists


def test_the_recall_told_is_that_of_proteins_of_the_store_itself() -> None:
    vectors = ArrayVectors(families(3000, 12))
    search = build_index(vectors, "euclidean")
    own = np.random.default_rng(1).permutation(3000)[:200]
    queries = vectors.rows(own)
    found, exact = (each.search(queries, 10, OwnPlace(own)) for each in (search, ExactSearch(vectors, "euclidean")))
    among = (exact.places[:, :, None] == found.places[:, None, :]).any(axis=2).mean()
    assert abs(among - search.facts.recall) < 0.05


def test_where_an_exclusion_leaves_too_few_candidates_all_vectors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "_FETCHED_A_NEIGHBOUR", 1)
    monkeypatch.setattr(approximate, "_MIN_FETCHED", 1)
    vectors = ArrayVectors(families(2000, 8))
    own = np.arange(20)
    search = build_index(vectors, "euclidean")
    queries_P, places_P = search.candidates(QueryVectors.of(vectors.rows(own), "euclidean"), 3, search.facts.num_probes)
    came_short = queries_P[own[queries_P] == places_P]  # one of the three candidates is the query itself
    assert len(came_short) > 10
    found = search.search(vectors.rows(own), 3, OwnPlace(own))
    exact = ExactSearch(vectors, "euclidean").search(vectors.rows(own), 3, OwnPlace(own))
    np.testing.assert_array_equal(found.places[came_short], exact.places[came_short])


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_that_cannot_be_compared_are_not_in_the_index(metric: Metric) -> None:
    searched = families(2000, 8)
    searched[3, 0], searched[9] = np.nan, 0
    search = build_index(ArrayVectors(searched), metric)
    assert search.num_unusable == search.index.ntotal - 2000 + 2 * search.num_unusable == (1, 2)[metric == "cosine"]
    found = search.search(searched[:12], 4)
    assert not np.isin(found.places, [3] if metric == "euclidean" else [3, 9]).any()
    assert (found.places[3] == -1).all()


def test_nothing_to_compare_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError, match="no vectors can be compared"):
        build_index(ArrayVectors(np.zeros((300, 4))), "cosine")


def results(search: ApproximateSearch, vectors: StoreVectors) -> list[list[int]]:
    return search.search(vectors.rows(np.arange(0, len(vectors), 50)), 4).places.tolist()


def test_an_index_beside_the_store_answers_as_when_it_was_built(tmp_path: Path) -> None:
    vectors = StoreVectors(write_vectors(tmp_path / "s", families(1500, 8)))
    assert open_index(vectors, "euclidean") is None
    built = make_index(vectors, "euclidean")
    assert {path.name for path in index_folder(tmp_path / "s").iterdir()} == {
        "euclidean-layer4.faiss",
        "euclidean-layer4.json",
    }
    opened = open_index(vectors, "euclidean")
    assert opened is not None and opened.facts == built.facts
    assert results(opened, vectors) == results(built, vectors)
    assert open_index(vectors, "cosine") is None


def test_an_index_of_another_store_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    vectors = StoreVectors(write_vectors(tmp_path / "s", families(600, 8)))
    make_index(vectors, "euclidean")
    folder = index_folder(tmp_path / "s")
    path, facts = folder / "euclidean-layer4.faiss", folder / "euclidean-layer4.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert open_index(vectors, "euclidean") is None
    path.write_bytes(whole[: len(whole) // 2])
    assert open_index(vectors, "euclidean") is None
    path.write_bytes(whole)
    assert open_index(vectors, "euclidean") is not None
    for wrong in ("[]", "{", json.dumps({**json.loads(facts.read_text()), "index": {"recall": 1}})):
        kept = facts.read_text()
        facts.write_text(wrong)
        assert open_index(vectors, "euclidean") is None
        facts.write_text(kept)
    other = StoreVectors(write_vectors(tmp_path / "other", families(600, 8, seed=1)))
    folder.rename(index_folder(tmp_path / "other"))
    assert open_index(other, "euclidean") is None


def test_faiss_missing_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "openankh\[search\]"'):
        build_index(ArrayVectors(families(300, 4)), "cosine")


BUILDING = """
import sys
from pathlib import Path
import openankh.search.approximate as approximate
from openankh.search.vectors import StoreVectors
from openankh.store import EmbeddingStore
approximate.SAMPLE_BYTES, approximate.NUM_RECALL_QUERIES = 1 << 20, 5
faiss = approximate.faiss_module()
faiss.omp_set_num_threads(1)
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10
small, large = (StoreVectors(EmbeddingStore.open(path)) for path in sys.argv[1:])
approximate.build_index(small, "euclidean")
before = peak()
approximate.build_index(large, "euclidean")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_building_takes_memory_for_codes_and_not_for_vectors(tmp_path: Path) -> None:
    """Ten times the vectors take 32 MB more on disk, in memory the codes, some blocks and the pages read at random."""
    rows = np.tile(families(2000, 128), (32, 1)) + np.random.default_rng(0).normal(0, 0.1, (64000, 128)).astype("f4")
    for name, num in (("small", 6400), ("large", 64000)):
        write_vectors(tmp_path / name, rows[:num], shard_residues=100_000)
    num_bytes = sum(path.stat().st_size for path in (tmp_path / "large").iterdir())
    assert num_bytes > 32_000_000
    done = subprocess.run(
        [sys.executable, "-c", BUILDING, tmp_path / "small", tmp_path / "large"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert int(done.stdout) < 0.7 * num_bytes
