"""Where the shards of a store end: a function of the records and the limits alone, known beforehand."""

from collections.abc import Iterable, Iterator
from itertools import chain

from openankh.fasta import Record
from openankh.store import Provenance, ShardLimits
from openankh.store.numbers import exported_type


def shards_of(
    records: Iterable[Record], provenance: Provenance, limits: ShardLimits | None
) -> Iterator[Iterator[Record]]:
    """The records of each shard in turn, each ending with the record that reaches a limit; each is to be used up
    before the next is asked for. Without limits all are one.

    Whoever reads ahead inside a shard alone computes the same batches when it goes on after any of them.
    """
    remaining = iter(records)
    if limits is None:
        yield remaining
        return
    for first in remaining:
        yield _shard(chain((first,), remaining), provenance, limits)


def _shard(records: Iterable[Record], provenance: Provenance, limits: ShardLimits) -> Iterator[Record]:
    row_bytes = provenance.width * exported_type(provenance.dtype).itemsize
    num_bytes = num_residues = 0
    for record in records:
        yield record
        num_residues += len(record.sequence)
        num_bytes += provenance.num_rows(1, len(record.sequence)) * row_bytes
        if num_bytes >= limits.num_bytes or num_residues >= limits.num_residues:
            return
