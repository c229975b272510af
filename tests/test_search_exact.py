"""Exact search is exact: it finds what float64 would find, whatever the vectors have in common."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_samples import embeddings, provenance
from openankh.errors import UserError
from openankh.search import vectors as vectors_module
from openankh.search.exact import ExactSearch
from openankh.search.identity import Identities, OwnPlace, SameProtein, keys_of
from openankh.search.metric import METRICS, Metric
from openankh.search.vectors import ArrayVectors, StoreVectors
from openankh.store import DTYPES, Dtype, EmbeddingStore
from openankh.store.writer import writing_store
from search_samples import families, plain_nearest, write_vectors


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_queries", [1, 37])
@pytest.mark.parametrize("common", [0.0, 3.0, 1000.0])
def test_neighbours_are_those_of_float64(metric: Metric, num_queries: int, common: float) -> None:
    searched = families(1500, 24, common=common)
    queries = searched[:num_queries] + np.float32(0.01)
    places, distances = plain_nearest(queries, searched, 9, metric)
    found = ExactSearch(ArrayVectors(searched), metric).search(queries, 9)
    np.testing.assert_array_equal(found.places, places)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-9, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num=st.integers(1, 700),
    width=st.integers(1, 40),
    neighbours=st.integers(1, 12),
    num_values=st.integers(1, 4),
    metric=st.sampled_from(METRICS),
)
def test_equally_near_vectors_come_in_order_however_many_there_are(
    seed: int, num: int, width: int, neighbours: int, num_values: int, metric: Metric
) -> None:
    generator = np.random.default_rng(seed)
    searched = generator.integers(1, num_values + 1, (num, width)).astype(np.float32)
    queries = generator.integers(1, num_values + 1, (3, width)).astype(np.float32)
    places, distances = plain_nearest(queries, searched, neighbours, metric)
    found = ExactSearch(ArrayVectors(searched), metric).search(queries, neighbours)
    np.testing.assert_allclose(found.distances[:, : places.shape[1]], distances, rtol=1e-9, atol=1e-15)
    if metric == "euclidean":  # whole numbers: float64 is exact
        np.testing.assert_array_equal(found.places[:, : places.shape[1]], places)
    assert (found.places[:, places.shape[1] :] == -1).all()


def test_similarity_is_the_cosine_by_either_metric() -> None:
    searched, queries = families(300, 16), families(5, 16, seed=1)
    cosine = ExactSearch(ArrayVectors(searched), "cosine").search(queries, 300)
    euclidean = ExactSearch(ArrayVectors(searched), "euclidean").search(queries, 300)
    np.testing.assert_allclose(cosine.similarities, 1 - cosine.distances, atol=1e-12)
    for one, other in zip(cosine.places, euclidean.places, strict=True):
        assert sorted(one) == sorted(other) == list(range(300))
    by_place = np.take_along_axis(cosine.similarities, np.argsort(cosine.places, axis=1), axis=1)
    again = np.take_along_axis(euclidean.similarities, np.argsort(euclidean.places, axis=1), axis=1)
    np.testing.assert_allclose(by_place, again, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_that_are_not_finite_are_nobodys_neighbours(metric: Metric) -> None:
    searched = families(400, 8)
    searched[[3, 50, 399], [0, 7, 2]] = [np.nan, np.inf, -np.inf]
    searched[7] = 1e30
    search = ExactSearch(ArrayVectors(searched), metric)
    found = search.search(searched[:60], 400)
    assert search.num_unusable == 4
    assert not np.isin(found.places, [3, 7, 50, 399]).any()
    assert (found.places[[3, 7, 50]] == -1).all() and np.isnan(found.distances[[3, 7, 50]]).all()
    usable = np.delete(np.arange(60), [3, 7, 50])
    assert (found.places[usable, 395] >= 0).all() and (found.places[usable, 396:] == -1).all()


def test_a_zero_vector_has_a_distance_but_no_direction() -> None:
    searched = families(100, 8)
    searched[5] = 0
    assert ExactSearch(ArrayVectors(searched), "cosine").num_unusable == 1
    assert (ExactSearch(ArrayVectors(searched), "cosine").search(searched[5:6], 3).places == -1).all()
    euclidean = ExactSearch(ArrayVectors(searched), "euclidean").search(searched[5:6], 3)
    assert euclidean.places[0, 0] == 5 and euclidean.distances[0, 0] == 0
    assert np.isnan(euclidean.similarities).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_large", [False, True])
def test_a_store_is_searched_as_the_array_of_its_vectors(
    tmp_path: Path, dtype: Dtype, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_large:
        monkeypatch.setattr(vectors_module, "_LARGE", 0)
    store = write_vectors(tmp_path / "s", families(200, 12), dtype=dtype)
    assert len(store.manifest.shards) > 3
    plain = np.stack([np.asarray(array, np.float32) for array in store])
    found = ExactSearch(StoreVectors(store), "euclidean").search(plain[::9], 6)
    expected = ExactSearch(ArrayVectors(plain), "euclidean").search(plain[::9], 6)
    np.testing.assert_array_equal(found.places, expected.places)
    np.testing.assert_array_equal(found.distances, expected.distances)
    for keep in (True, False):
        rows = StoreVectors(store).rows(np.array([199, 0, 57, 0]), keep=keep)
        np.testing.assert_array_equal(rows, plain[[199, 0, 57, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_layer_of_several_is_searched(tmp_path: Path, dtype: Dtype) -> None:
    vectors = np.stack([families(60, 8, seed=seed) for seed in range(3)], axis=1)
    store = write_vectors(tmp_path / "s", vectors, dtype=dtype, layers=(4, 0, 2))
    chosen = StoreVectors(store, 0)
    plain = np.stack([np.asarray(array, np.float32)[1] for array in store])
    np.testing.assert_array_equal(np.concatenate([block.copy() for block in chosen.blocks()]), plain)
    for keep in (True, False):
        np.testing.assert_array_equal(chosen.rows(np.array([59, 3]), keep=keep), plain[[59, 3]])
    with pytest.raises(UserError, match="holds the layers 4, 0, 2; choose one with --layer"):
        StoreVectors(store)
    with pytest.raises(UserError, match="has no layer 3; it holds 4, 0, 2"):
        StoreVectors(store, 3)


def test_a_protein_is_barred_from_its_own_neighbours() -> None:
    searched = families(120, 8)
    own = np.array([5, 119, 0])
    found = ExactSearch(ArrayVectors(searched), "euclidean").search(searched[own], 119, OwnPlace(own))
    assert (found.places[:, -1] >= 0).all()
    assert not (found.places == own[:, None]).any()


def identities(ids: list[str], sequences: list[str] | None, lengths: list[int]) -> Identities:
    keys = keys_of(sequences) if sequences is not None else None
    return Identities(keys_of(ids), keys, np.array(lengths))


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_protein_is_left_out_by_id_sequence_or_vector(metric: Metric) -> None:
    searched = families(40, 8)
    searched[[11, 12, 13]] = searched[10]
    ids, lengths = [f"S{number}" for number in range(40)], [number + 10 for number in range(40)]
    lengths[12] = lengths[10]
    sequences = [f"M{number}" for number in range(40)]
    sequences[13] = "M10"
    search = ExactSearch(ArrayVectors(searched), metric)

    def neighbours(query: Identities, of: Identities) -> set[int]:
        return set(search.search(searched[10:11], 39, SameProtein(query, of)).places[0].tolist())

    known = identities(ids, sequences, lengths)
    by_sequence = neighbours(identities(["Q"], ["M10"], [20]), known)
    assert by_sequence == set(range(40)) - {10, 13} | {-1}
    unknown = identities(ids, None, lengths)
    by_vector = neighbours(identities(["Q"], ["M10"], [20]), unknown)
    assert by_vector == set(range(40)) - {10, 12} | {-1}
    by_id = neighbours(identities(["S11"], ["other"], [3]), known)
    assert by_id == set(range(40)) - {11}


def test_a_store_of_residues_is_refused_with_the_remedy(tmp_path: Path) -> None:
    of = provenance("residues")
    with writing_store(tmp_path / "s", of) as writer:
        writer.write(embeddings(["P1", "P2"], of))
        writer.finish("a" * 64)
    with pytest.raises(UserError, match=r"one row a residue.*embed with --pool mean"):
        StoreVectors(EmbeddingStore.open(tmp_path / "s"))
