"""The model's thread: who waits, what shares a batch, who is dropped, and how it ends."""

import random
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.serve.engine import BusyError, Engine, FailedError
from openankh.serve.waiting import Line, Request
from serve_samples import CountingModel, records

MEAN, MAX = EmbedOptions("mean"), EmbedOptions("max")


@pytest.fixture
def model() -> CountingModel:
    return CountingModel()


@pytest.fixture
def engine(model: CountingModel) -> Iterator[Engine]:
    engine = Engine(model, max_residues=1_000, threads=1)
    engine.start()
    yield engine
    model.gate.set()
    engine.stop(seconds=10)


def batches_of(line: Line, max_tokens: int) -> list[list[int]]:
    made = []
    while (options := line.options_next()) is not None:
        made.append([len(record.sequence) for _, record in line.batch(options, max_tokens).items])
    return made


def test_every_protein_is_in_exactly_one_batch_and_no_batch_is_over_the_budget() -> None:
    source = random.Random(0)
    for _ in range(200):
        line, lengths = Line(), []
        for _ in range(source.randint(1, 12)):
            request = [source.randint(1, 60) for _ in range(source.randint(1, 9))]
            lengths += request
            line.add(Request(records(*request), source.choice([MEAN, MAX])))
        made = batches_of(line, 100)
        assert sorted(length for batch in made for length in batch) == sorted(lengths)
        assert all(sum(batch) + 2 * len(batch) <= 100 for batch in made)
        assert line.num_residues == 0 and not line


def test_a_protein_longer_than_a_batch_is_alone_in_one() -> None:
    line = Line()
    line.add(Request(records(500), MEAN))
    line.add(Request(records(10), MEAN))
    assert batches_of(line, 100) == [[500], [10]]


def test_a_short_protein_is_in_the_next_batch_however_many_long_ones_wait() -> None:
    line = Line()
    for _ in range(50):
        line.add(Request(records(40, 40), MEAN))
    line.add(Request(records(5), MEAN))
    assert 5 in batches_of(line, 100)[0]


@pytest.mark.parametrize("length", [30, 60, 90, 98])
def test_the_request_that_waits_longest_is_in_every_batch_of_its_kind(length: int) -> None:
    line = Line()
    line.add(Request(records(length, length), MEAN))
    for _ in range(40):
        line.add(Request(records(5), MEAN))
    made = batches_of(line, 100)
    assert length in made[0] and (length in made[1] or made[0].count(length) == 2)


def test_what_is_soon_done_is_computed_and_answered_before_what_takes_long(model: CountingModel) -> None:
    line = Line()
    for _ in range(5):
        line.add(Request(records(30, 30, 30), MEAN))
    line.add(Request(records(5), MEAN))
    quick, long = line.batch(MEAN, 100).parts
    assert [len(record.sequence) for _, record in quick] == [5, 30]
    assert [len(record.sequence) for _, record in long] == [30]


def test_kinds_of_requests_take_turns() -> None:
    line = Line()
    line.add(Request(records(90, 91, 92), MEAN))
    line.add(Request(records(80), MAX))
    assert batches_of(line, 100) == [[90], [80], [91], [92]]


def test_requests_that_wait_share_a_batch_and_each_gets_its_own_answer(engine: Engine, model: CountingModel) -> None:
    first = engine.submit(records(50), MEAN)
    assert model.begun.wait(10)
    others = [engine.submit(records(n, n + 1), MEAN) for n in (3, 5)]
    model.gate.set()
    assert first.result(10)[0][0] == 50
    assert [[array[0] for array in future.result(10)] for future in others] == [[3, 4], [5, 6]]
    assert model.batches == [[50], [3, 4, 5, 6]]


def test_a_request_whose_client_left_is_never_computed(engine: Engine, model: CountingModel) -> None:
    first = engine.submit(records(50), MEAN)
    assert model.begun.wait(10)
    left, stays = engine.submit(records(10, 11), MEAN), engine.submit(records(20), MEAN)
    assert left.cancel()
    model.gate.set()
    assert stays.result(10) and first.result(10)
    assert model.batches == [[50], [20]]
    assert engine.num_waiting_residues == 0


def test_a_client_that_leaves_in_the_middle_takes_the_rest_of_its_work_with_it(
    engine: Engine, model: CountingModel
) -> None:
    long = engine.submit(records(90, 91, 92), MEAN)
    assert model.begun.wait(10)
    long.cancel()
    model.gate.set()
    assert engine.submit(records(5), MEAN).result(10)
    assert [90] in model.batches and [91] not in model.batches


def test_a_full_line_refuses_with_when_to_come_back(engine: Engine, model: CountingModel) -> None:
    engine.submit(records(5), MEAN)
    assert model.begun.wait(10)
    engine.submit(records(1_000), MEAN)
    assert engine.is_full
    with pytest.raises(BusyError) as refused:
        engine.submit(records(5), MEAN)
    assert refused.value.retry_after >= 1


def test_progress_is_told_protein_by_protein(engine: Engine, model: CountingModel) -> None:
    told: list[tuple[int, int]] = []
    model.gate.set()
    engine.submit(records(60, 61), MEAN, lambda done, total: told.append((done, total))).result(10)
    assert told == [(1, 2), (2, 2)]


def test_stopping_computes_what_waits_and_takes_nothing_new(engine: Engine, model: CountingModel) -> None:
    waiting = [engine.submit(records(60), MEAN) for _ in range(5)]
    model.gate.set()
    assert engine.stop(seconds=10)
    assert all(future.result(0)[0][0] == 60 for future in waiting)
    with pytest.raises(BusyError):
        engine.submit(records(5), MEAN)


def test_what_does_not_end_in_time_is_told_so(engine: Engine, model: CountingModel) -> None:
    engine.submit(records(60), MEAN)
    assert model.begun.wait(10)
    late = engine.submit(records(60), MEAN)
    assert not engine.stop(seconds=0)
    with pytest.raises(BusyError):
        late.result(10)


def test_a_failing_model_fails_its_batch_and_goes_on(engine: Engine, model: CountingModel) -> None:
    model.gate.set()
    model.failure = RuntimeError("device-side assert")
    with pytest.raises(FailedError):
        engine.submit(records(5), MEAN).result(10)
    model.failure = None
    assert engine.submit(records(6), MEAN).result(10)[0][0] == 6


def test_a_protein_that_cannot_be_embedded_takes_no_other_with_it(model: CountingModel) -> None:
    class Picky(CountingModel):
        def embed(self, options, found):  # type: ignore[no-untyped-def]
            if any(len(each.sequence) == 13 for each in found):
                raise UserError("13")
            return super().embed(options, found)

    picky = Picky()
    engine = Engine(picky, max_residues=1_000, threads=1)
    engine.start()
    blocker = engine.submit(records(50), MEAN)
    assert picky.begun.wait(10)
    bad, good = engine.submit(records(13), MEAN), engine.submit(records(14), MEAN)
    picky.gate.set()
    assert good.result(10)[0][0] == 14 and blocker.result(10)
    with pytest.raises(UserError):
        bad.result(10)
    engine.stop(seconds=10)
