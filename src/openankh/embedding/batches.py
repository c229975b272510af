"""Batches of proteins: consecutive records up to a budget of tokens, so that results leave in input order."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.fasta import Record
from openankh.vocab import EOS, Vocab


def token_batches(
    records: Iterable[Record], max_tokens: Callable[[], int], num_added: int
) -> Iterator[tuple[Record, ...]]:
    """Cut records, in order, into batches of at most `max_tokens()` tokens; a longer record goes alone.

    `num_added` tokens come to each protein's residues. The budget is asked for anew at each batch.
    """
    batch: list[Record] = []
    num_tokens = 0
    for record in records:
        added = len(record.sequence) + num_added
        if batch and num_tokens + added > max_tokens():
            yield tuple(batch)
            batch, num_tokens = [], 0
        batch.append(record)
        num_tokens += added
    if batch:
        yield tuple(batch)


def packed_tokens(
    records: Iterable[Record], vocab: Vocab, prefix_id: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(tokens (T,), places of the residues among them (N,), offsets of the proteins (B+1,)).

    Each protein is its prefix, if there is one, its residues and `</s>`. Raises UserError naming the record of a letter
    that is no residue of this vocabulary, and of an empty sequence.
    """
    records = tuple(records)
    for record in records:
        if not record.sequence:
            raise UserError(f"record {record.id!r}: has no residues; leave it out")
    ids, starts = _encoded(records, vocab)
    num_added = 1 if prefix_id is None else 2
    offsets = starts + np.arange(len(records) + 1) * num_added
    places = np.arange(len(ids)) + np.repeat(np.arange(len(records)) * num_added + num_added - 1, np.diff(starts))
    tokens = np.empty(offsets[-1], np.int64)
    tokens[places] = ids
    tokens[offsets[1:] - 1] = EOS
    if prefix_id is not None:
        tokens[offsets[:-1]] = prefix_id
    return tokens, places, offsets


def _encoded(records: tuple[Record, ...], vocab: Vocab) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        return vocab.encode_batch([record.sequence for record in records])
    except UserError:
        for record in records:
            try:
                vocab.encode(record.sequence)
            except UserError as error:
                raise UserError(f"record {record.id!r} (line {record.line}): {error}") from None
        raise
