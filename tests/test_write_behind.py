"""Writing behind the computing: everything once, in order, and no failure of one side leaves the other waiting."""

import threading
from collections.abc import Sequence

import pytest

from openankh.embedding.write_behind import MAX_WAITING, WriteBehind

BATCHES = [[number, number + 1] for number in range(0, 60, 2)]


class WriteError(Exception):
    """The disk is at fault."""


class ModelError(Exception):
    """The network is at fault."""


def test_everything_is_written_once_in_order_by_the_end() -> None:
    written: list[int] = []
    with WriteBehind(written.extend) as writer:
        for batch in BATCHES:
            writer.put(batch)
    assert written == list(range(60))


def test_it_is_written_in_another_thread_and_while_the_block_goes_on() -> None:
    wrote = threading.Event()
    threads: list[int] = []

    def write(batch: Sequence[int]) -> None:
        threads.append(threading.get_ident())
        wrote.set()

    with WriteBehind(write) as writer:
        writer.put([1])
        assert wrote.wait(30)
    assert threads != [threading.get_ident()]


@pytest.mark.parametrize("failing", [0, 1, 7, 28, 29])
def test_when_writing_fails_the_same_error_ends_the_block_and_nothing_more_is_written(failing: int) -> None:
    written: list[int] = []

    def write(batch: Sequence[int]) -> None:
        if batch[0] == 2 * failing:
            raise WriteError(f"at {failing}")
        written.extend(batch)

    with pytest.raises(WriteError, match=f"at {failing}"), WriteBehind(write) as writer:
        for batch in BATCHES:
            writer.put(batch)
    assert written == list(range(2 * failing))


def test_a_slow_writer_is_waited_for_with_a_bounded_number_of_batches() -> None:
    go_on, waiting = threading.Semaphore(0), []

    def write(batch: Sequence[int]) -> None:
        go_on.acquire()
        waiting.append(len(BATCHES[: batch[0] // 2]))

    put: list[int] = []

    def compute() -> None:
        with WriteBehind(write) as writer:
            for number, batch in enumerate(BATCHES):
                writer.put(batch)
                put.append(number)

    computing = threading.Thread(target=compute)
    computing.start()
    for number in range(len(BATCHES)):
        assert len(put) <= number + 1 + MAX_WAITING
        go_on.release()
    computing.join(30)
    assert not computing.is_alive() and len(waiting) == len(BATCHES)


@pytest.mark.parametrize("error", [ModelError, KeyboardInterrupt])
def test_when_the_block_fails_the_batch_being_written_is_finished_and_the_others_are_dropped(
    error: type[BaseException],
) -> None:
    begun, go_on, written = threading.Event(), threading.Event(), []

    def write(batch: Sequence[int]) -> None:
        begun.set()
        assert go_on.wait(30)
        written.append(batch)

    with pytest.raises(error), WriteBehind(write) as writer:
        for batch in BATCHES[: 1 + MAX_WAITING]:
            writer.put(batch)
        assert begun.wait(30)
        threading.Timer(0.05, go_on.set).start()
        raise error
    assert written == BATCHES[:1]


def test_when_both_fail_the_blocks_error_is_the_one() -> None:
    def write(batch: Sequence[int]) -> None:
        raise WriteError

    with pytest.raises(ModelError), WriteBehind(write) as writer:
        writer.put([1])
        raise ModelError


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for failing in (False, True):
        try:
            with WriteBehind(lambda batch: None) as writer:
                writer.put([1])
                if failing:
                    raise ModelError
        except ModelError:
            pass
    assert threading.active_count() == before
