"""Threads divide a batch so that every protein is run once and nobody waits long."""

import os
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openankh.attention import Documents
from openankh.inference import PackedEncoder
from openankh.shares import LARGEST, Share, plan_of
from openankh.threads import map_on_cores
from test_model import SHAPES, build_pair, draw_tokens

LENGTHS = st.lists(st.integers(0, 3000), max_size=40)


@pytest.fixture
def two_threads() -> None:
    torch.set_num_threads(2)


@given(LENGTHS, st.integers(1, 8))
def test_every_protein_is_in_exactly_one_share(lengths: list[int], num_threads: int) -> None:
    documents = Documents.of_lengths(lengths)
    plan = plan_of(documents, num_threads)
    shares = [plan.common, *plan.apart]
    assert sorted(number for share in shares for number in share.numbers) == list(range(len(lengths)))
    rows = torch.cat([share.rows(documents) for share in shares])
    assert torch.equal(rows.sort().values, torch.arange(sum(lengths)))
    for share in shares:
        assert [end - start for start, end in share.documents(documents)] == [lengths[n] for n in share.numbers]
        assert list(share.numbers) == sorted(share.numbers)


@given(LENGTHS, st.integers(2, 8))
def test_no_thread_runs_more_alone_than_its_part(lengths: list[int], num_threads: int) -> None:
    documents = Documents.of_lengths(lengths)
    plan = plan_of(documents, num_threads)
    sizes = [share.documents(documents).num_tokens for share in plan.apart]
    assert all(size <= max(LARGEST, max(lengths)) for size in sizes)
    if sizes:
        assert max(sizes) * num_threads <= 1.1 * sum(sizes) * (1 + max(lengths) / 6000) + num_threads


def test_one_thread_takes_the_batch_as_it_is() -> None:
    assert plan_of(Documents.of_lengths([5, 9000, 3]), 1).common == Share((0, 1, 2))


def test_a_protein_longer_than_all_others_is_run_in_common() -> None:
    plan = plan_of(Documents.of_lengths([300, 9000, 300, 300, 300]), 2)
    assert plan.common == Share((1,))
    assert len(plan.apart) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[300, 90, 400, 1, 250, 500, 30, 333], [1500], [40, 1100, 30, 250, 260]])
def test_threads_change_no_result(lengths: list[int], dtype: torch.dtype) -> None:
    encoder = PackedEncoder(build_pair(SHAPES["ankh, gated gelu"])[0].to(dtype))
    tokens, documents = draw_tokens(lengths, 1), Documents.of_lengths(lengths)
    torch.set_num_threads(1)
    on_one = encoder.encode(tokens, documents, layers=(0, 2, 5))
    torch.set_num_threads(2)
    on_two = encoder.encode(tokens, documents, layers=(0, 2, 5))
    assert torch.get_num_threads() == 2
    for layer in (0, 2, 5):
        assert torch.allclose(on_two.states[layer], on_one.states[layer], rtol=1e-5, atol=1e-5)


def test_each_thread_keeps_to_one_core(two_threads: None) -> None:
    names = map_on_cores(lambda number: (threading.current_thread().name, torch.get_num_threads()), range(4))
    assert {number for _, number in names} == {1}
    assert all(name.startswith("openankh-core") for name, _ in names)
    assert torch.get_num_threads() == 2


def test_what_a_thread_raises_reaches_the_caller(two_threads: None) -> None:
    def fail(number: int) -> int:
        raise MemoryError(f"at {number}")

    with pytest.raises(MemoryError, match="at 0"):
        map_on_cores(fail, range(3))
    assert map_on_cores(lambda number: number + 1, range(3)) == [1, 2, 3]


def test_threads_see_the_callers_kind_of_tensors(two_threads: None) -> None:
    with torch.inference_mode():
        assert all(x.is_inference() for x in map_on_cores(lambda number: torch.ones(number), range(3)))
    assert not any(x.is_inference() or x.requires_grad for x in map_on_cores(lambda number: torch.ones(3), range(3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(two_threads: None) -> None:
    assert map_on_cores(abs, [-1, -2]) == [1, 2]
    child = os.fork()
    if not child:
        os._exit(0 if map_on_cores(abs, [-1, -2]) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
