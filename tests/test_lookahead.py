"""Reading ahead: every record leaves once, in order; batches keep to the budget; equal sequences are computed once."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_models import MIXED, MODELS, VOCABS, proteins
from embedding_samples import provenance
from openankh.embedding.embedder import Embedder
from openankh.embedding.lookahead import Lookahead
from openankh.embedding.options import EmbedOptions
from openankh.embedding.reuse import Reuse
from openankh.embedding.shards import shards_of
from openankh.embedding.survey import survey
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.store import POOLS, Pool, ShardLimits

LENGTHS = st.lists(st.integers(1, 30), max_size=40)


def vector_of(record: Record) -> np.ndarray:
    return np.array([len(record.sequence), sum(map(ord, record.sequence))], np.float32)


class Ran:
    """What came of running a look-ahead to its end."""

    def __init__(self, records: list[Record], max_tokens: int, room: int, num_added: int = 1) -> None:
        self.batches: list[tuple[Record, ...]] = []
        self.left: list[Record] = []
        self.reused: list[Record] = []
        ahead = Lookahead(records, room, num_added, Reuse(), self.reused.append)
        while True:
            batch = ahead.batch(max_tokens)
            for record in batch:
                ahead.settle(record, vector_of(record))
            if batch:
                self.batches.append(batch)
            pairs = ahead.leave()
            if not pairs and not batch:
                return
            for record, array in pairs:
                np.testing.assert_array_equal(array, vector_of(record))
                self.left.append(record)


@given(LENGTHS, st.integers(1, 60), st.integers(1, 200), st.integers(1, 2))
@settings(max_examples=300, deadline=None)
def test_every_record_leaves_once_in_order_and_batches_keep_to_the_budget(
    lengths: list[int], max_tokens: int, room: int, num_added: int
) -> None:
    records = proteins(lengths)
    ran = Ran(records, max_tokens, room, num_added)
    assert ran.left == records
    for batch in ran.batches:
        assert len(batch) == 1 or sum(len(record.sequence) + num_added for record in batch) <= max_tokens
        assert len({record.sequence for record in batch}) == len(batch)
    computed = [record.sequence for batch in ran.batches for record in batch]
    assert sorted(computed) == sorted({record.sequence for record in records})
    assert len(ran.reused) == len(records) - len(computed)


@given(LENGTHS, st.integers(1, 60), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_the_batches_are_a_function_of_records_and_budget(lengths: list[int], max_tokens: int, room: int) -> None:
    one, again = (Ran(proteins(lengths), max_tokens, room) for _ in range(2))
    assert one.batches == again.batches


def test_a_batch_is_filled_from_further_ahead_and_never_passes_the_one_that_waits_longest() -> None:
    records = proteins([60, 50, 30, 8, 40])
    assert [[len(r.sequence) for r in batch] for batch in Ran(records, 100, 1000).batches] == [[60, 30], [50, 8], [40]]
    filled = Ran(proteins([60, 50, 30, 30, 30, 30]), 100, 1000)
    assert [len(batch[0].sequence) for batch in filled.batches] == [60, 50, 30]


def test_no_more_is_read_ahead_than_there_is_room_for() -> None:
    taken: list[Record] = []

    def endless() -> Iterator[Record]:
        while True:
            taken.append(proteins([9], seed=len(taken))[0])
            yield taken[-1]

    ahead = Lookahead(endless(), 100, 1, Reuse(), lambda record: None)
    for number in range(30):
        for record in ahead.batch(40):
            ahead.settle(record, vector_of(record))
        left = sum(len(ahead.leave()) for _ in range(1))
        assert left == 4 and len(taken) <= 4 * (number + 1) + 11


def test_what_reading_raises_is_raised_once_all_before_it_have_left() -> None:
    def broken() -> Iterator[Record]:
        yield from MIXED
        raise UserError("in.fasta, line 21: no")

    pairs = Embedder(MODELS["ankh"], VOCABS["ankh"]).embed(broken())
    assert [next(pairs)[0] for _ in MIXED] == MIXED
    with pytest.raises(UserError, match="line 21"):
        next(pairs)


@pytest.mark.parametrize("pool", POOLS)
def test_equal_sequences_are_computed_once_wherever_they_stand_and_keep_their_ids(pool: Pool) -> None:
    again = [Record(f"again{number}", "", record.sequence, number) for number, record in enumerate(MIXED)]
    records = [*MIXED, *again, *MIXED[::-1]]
    once = dict(zip(MIXED, (array for _, array in embedder(pool).embed(MIXED)), strict=True))
    for repeated in (survey(records).repeats, None):
        several = embedder(pool)
        several.expect(repeated)
        seen = watched(several)
        found = list(several.embed(records))
        assert [record for record, _ in found] == records
        for record, array in found:
            first = next(one for one in MIXED if one.sequence == record.sequence)
            np.testing.assert_array_equal(array, once[first])
        assert sorted(seen) == sorted(record.sequence for record in MIXED)
        assert several.num_reused == 20 and several.num_residues_reused == 2 * sum(len(r.sequence) for r in MIXED)
        assert len({id(array) for _, array in found}) == len({array.ctypes.data for _, array in found}) == 30


def embedder(pool: Pool) -> Embedder:
    return Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(pool, max_tokens=100))


def watched(embedder: Embedder) -> list[str]:
    """The sequences that it computes, as they come."""
    real, seen = embedder._vectors.of, []

    def of(records: list[Record], piece: int | None) -> object:
        seen.extend(record.sequence for record in records)
        return real(records, piece)

    embedder._vectors.of = of  # type: ignore[assignment,method-assign]  # pyright: ignore
    return seen


def test_an_array_that_its_owner_changes_spoils_no_other() -> None:
    records = [MIXED[2], MIXED[3], MIXED[2], *MIXED[4:], MIXED[2]]
    pairs = embedder("mean").embed(records)
    expected = dict(embedder("mean").embed(MIXED))
    for record, array in pairs:
        np.testing.assert_array_equal(array, expected[record])
        array[:] = 0


def test_sequences_known_to_come_once_are_not_kept() -> None:
    one, other = proteins([5, 7])
    reuse = Reuse(expected={hash(other.sequence)})
    for record in (one, other):
        reuse.keep(record.sequence, vector_of(record))
    assert reuse.find(one.sequence) is None and reuse.find(other.sequence) is not None


def test_what_is_kept_is_bounded_in_bytes_and_the_least_recently_used_goes_first() -> None:
    records = proteins([10] * 6)
    array = np.ones(100, np.float32)
    reuse = Reuse(max_bytes=4 * (10 + 400 + 300))
    for record in records[:4]:
        reuse.keep(record.sequence, array)
    assert reuse.find(records[0].sequence) is not None
    for record in records[4:]:
        reuse.keep(record.sequence, array)
    assert [reuse.find(record.sequence) is not None for record in records] == [True, False, False, True, True, True]
    reuse.keep("M", np.ones(10_000, np.float32))
    assert reuse.find("M") is None and reuse.find(records[5].sequence) is not None


@given(LENGTHS, st.integers(1, 40), st.sampled_from(POOLS), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_shards_end_with_the_record_that_reaches_a_limit(
    lengths: list[int], num_residues: int, pool: Pool, num_layers: int
) -> None:
    records, of = proteins(lengths), provenance(pool, layers=tuple(range(num_layers)))
    limits = ShardLimits(num_bytes=1200, num_residues=num_residues)
    shards = [list(shard) for shard in shards_of(iter(records), of, limits)]
    assert [record for shard in shards for record in shard] == records

    def is_reached(shard: list[Record]) -> bool:
        residues = sum(len(record.sequence) for record in shard)
        return residues >= num_residues or of.num_rows(len(shard), residues) * of.width * 4 >= 1200

    for number, shard in enumerate(shards):
        assert not is_reached(shard[:-1])
        assert is_reached(shard) or number == len(shards) - 1


def test_without_limits_all_records_are_one_shard() -> None:
    assert [list(shard) for shard in shards_of(iter(MIXED), provenance(), None)] == [MIXED]
