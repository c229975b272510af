"""Records read ahead: from a bounded number of them batches are filled, and results leave in input order."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.reuse import Reuse
from openankh.fasta import Record

Pair = tuple[Record, NDArray[np.floating]]

_MANY = 1 << 16
"""Records read ahead at most, however short they are."""


@dataclass
class _Slot:
    """A record in its place, and its array once there is one."""

    record: Record
    array: NDArray[np.floating] | None = None


class Lookahead:
    """The records between the last one that has left and the last one read, each sequence to be computed once.

    `max_tokens` bounds the tokens of those records (a longer one is alone), `num_added` come to each protein's
    residues. A batch always holds the record that waits longest, filled up with the next ones that fit, so that which
    records make a batch is a function of the records, the budgets asked for and what is to be reused. `on_reuse` is
    called with every record that gets the array of another.
    """

    def __init__(
        self,
        records: Iterable[Record],
        max_tokens: int,
        num_added: int,
        reuse: Reuse,
        on_reuse: Callable[[Record], None],
    ) -> None:
        self._records = iter(records)
        self._max_tokens = max_tokens
        self._num_added = num_added
        self._reuse = reuse
        self._slots: deque[_Slot] = deque()
        self._waiting: dict[str, list[_Slot]] = {}
        self._num_tokens = 0
        self._next: Record | None = None
        self._failure: Exception | None = None
        self._on_reuse = on_reuse

    def batch(self, max_tokens: int) -> tuple[Record, ...]:
        """The records to compute next, of different sequences and at most `max_tokens` tokens, or one longer one.

        They stay here until `settle`; so after running out of memory a smaller batch can be asked for instead. Empty
        at the end. Raises what reading a record raised, once all before it have left.
        """
        self._read_ahead()
        if self._failure is not None and not self._slots:
            raise self._failure
        batch: list[Record] = []
        room = max_tokens
        for slots in self._waiting.values():
            needed = self._tokens_of(slots[0].record)
            if needed <= room or not batch:
                batch.append(slots[0].record)
                room -= needed
            if room <= self._num_added:
                break
        return tuple(batch)

    def settle(self, record: Record, array: NDArray[np.floating]) -> None:
        """Give every waiting record of this sequence its array."""
        first, *others = self._waiting.pop(record.sequence)
        first.array = array
        for slot in others:
            slot.array = array.copy()
            self._on_reuse(slot.record)
        self._reuse.keep(record.sequence, array)

    def leave(self) -> list[Pair]:
        """Take out the records that have their arrays, up to the first that has none."""
        pairs: list[Pair] = []
        while self._slots and (array := self._slots[0].array) is not None:
            record = self._slots.popleft().record
            self._num_tokens -= self._tokens_of(record)
            pairs.append((record, array))
        return pairs

    def _read_ahead(self) -> None:
        while len(self._slots) < _MANY:
            record = self._next or self._read()
            self._next = record
            if record is None or (self._slots and self._num_tokens + self._tokens_of(record) > self._max_tokens):
                return
            self._next = None
            self._add(_Slot(record))

    def _read(self) -> Record | None:
        if self._failure is not None:
            return None
        try:
            return next(self._records, None)
        except Exception as failure:
            self._failure = failure
            return None

    def _add(self, slot: _Slot) -> None:
        sequence = slot.record.sequence
        if sequence in self._waiting:
            self._waiting[sequence].append(slot)
        else:
            slot.array = self._reuse.find(sequence)
            if slot.array is None:
                self._waiting[sequence] = [slot]
            else:
                self._on_reuse(slot.record)
        self._slots.append(slot)
        self._num_tokens += self._tokens_of(slot.record)

    def _tokens_of(self, record: Record) -> int:
        return len(record.sequence) + self._num_added
