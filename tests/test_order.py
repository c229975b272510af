"""The order of documents: a bijection in each epoch, a pure function of seed and position, never stored."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.order import Order


def test_an_epoch_serves_every_document_once_for_every_number_of_documents() -> None:
    for num in (*range(1, 1500), *range(1500, 5001, 17)):
        assert (np.bincount(Order(num, seed=num).at(np.arange(num)), minlength=num) == 1).all(), num


@settings(max_examples=200, deadline=None)
@given(num=st.integers(1, 50_000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**40))
def test_any_epoch_of_any_seed_serves_every_document_once(num: int, seed: int, epoch: int) -> None:
    index = Order(num, seed).at(epoch * num + np.arange(num))
    assert (np.sort(index) == np.arange(num)).all()


@settings(max_examples=100, deadline=None)
@given(num=st.integers(1, 2**40), seed=st.integers(0, 99), positions=st.lists(st.integers(0, 2**62), max_size=50))
def test_a_position_alone_gives_what_it_gives_in_company(num: int, seed: int, positions: list[int]) -> None:
    together = Order(num, seed).at(np.array(positions, dtype=np.int64))
    assert together.tolist() == [int(Order(num, seed).at(position)) for position in positions]
    assert all(0 <= index < num for index in together.tolist())


def test_the_answer_has_the_shape_of_the_question() -> None:
    order = Order(1000, seed=0)
    assert order.at([]).shape == (0,)
    assert order.at(5).shape == ()
    assert order.at(np.arange(6).reshape(2, 3)).ravel().tolist() == order.at(np.arange(6)).tolist()
    assert order.at([3]).dtype == np.int64


def test_documents_stay_distinct_at_the_largest_numbers() -> None:
    num = 2**62 - 1
    positions = np.concatenate([np.arange(10_000), num - 1 - np.arange(10_000)])
    assert len(set(Order(num, seed=3).at(positions).tolist())) == 20_000


def test_epochs_and_seeds_give_orders_of_their_own() -> None:
    orders = [Order(500, seed).at(epoch * 500 + np.arange(500)) for seed in range(20) for epoch in range(20)]
    agreements = [int((one == other).sum()) for one, other in itertools.combinations(orders, 2)]
    # Two random permutations agree in one place on average, whatever their size; 400 of them in at most a few.
    assert abs(np.mean(agreements) - 1) < 0.02
    assert max(agreements) < 12


@pytest.mark.parametrize("num", [2, 3, 4, 5])
def test_every_arrangement_of_few_documents_is_about_equally_frequent(num: int) -> None:
    arrangements = list(itertools.permutations(range(num)))
    trials = 250 * len(arrangements)
    epochs = Order(num, seed=11).at(np.arange(trials * num)).reshape(trials, num)
    counts = Counter(map(tuple, epochs.tolist()))
    assert set(counts) == set(arrangements)
    expected = trials / len(arrangements)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    freedom = len(arrangements) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("num", [10, 97, 1024])
def test_every_document_comes_in_every_place_equally_often(num: int) -> None:
    num_epochs = 100 * num if num < 1000 else num
    index = Order(num, seed=5).at(np.arange(num_epochs * num)).reshape(num_epochs, num)
    table = np.zeros((num, num))
    np.add.at(table, (np.tile(np.arange(num), num_epochs), index.ravel()), 1)
    expected = num_epochs / num
    freedom = (num - 1) ** 2
    assert abs(((table - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_in_the_corpus_are_strangers_in_the_order() -> None:
    index = Order(100_000, seed=1).at(np.arange(100_000)).astype(np.float64)
    assert abs(np.corrcoef(index[:-1], index[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(index, np.arange(100_000))[0, 1]) < 0.02
    assert (np.abs(np.diff(index)) == 1).mean() < 1e-3


def test_an_order_of_any_size_takes_no_memory() -> None:
    Order(10, 0).at(0)
    tracemalloc.start()
    try:
        Order(2**61, seed=1).at(np.arange(10))
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_the_mapping_never_changes() -> None:
    # Written down from this implementation when it was made: another mapping would make resumed runs repeat and skip
    # documents without a word.
    assert Order(576_008, seed=0).at([0, 1, 2, 576_007, 576_008, 10**12]).tolist() == FROZEN
    assert Order(7, seed=2**64 - 1).at(range(14)).tolist() == FROZEN_SMALL


FROZEN = [36829, 544685, 121671, 208374, 148224, 254975]
FROZEN_SMALL = [4, 5, 1, 3, 6, 2, 0, 3, 0, 1, 6, 5, 4, 2]
