"""Proteins as the tokens that encoder and decoder read, end to end, and the places of their residues among them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.fasta import Record
from openankh.vocab import EOS, PAD, Vocab


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
    num_before = 0 if prefix_id is None else 1
    tokens, places, offsets = _framed(*_encoded(records, vocab), num_before, num_after=1)
    tokens[offsets[1:] - 1] = EOS
    if prefix_id is not None:
        tokens[offsets[:-1]] = prefix_id
    return tokens, places, offsets


def decoder_tokens(
    records: Iterable[Record], vocab: Vocab
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The same for a decoder that reads the proteins themselves: each is `<pad>`, with which every target begins, and
    its residues.
    """
    tokens, places, offsets = _framed(*_encoded(tuple(records), vocab), num_before=1, num_after=0)
    tokens[offsets[:-1]] = PAD
    return tokens, places, offsets


def _framed(
    ids: NDArray[np.uint8], starts: NDArray[np.int64], num_before: int, num_after: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Room before and after each protein's ids; the tokens there are still to be set."""
    num_added = num_before + num_after
    numbers = np.arange(len(starts) - 1)
    places = np.arange(len(ids)) + np.repeat(numbers * num_added + num_before, np.diff(starts))
    offsets = starts + np.arange(len(starts)) * num_added
    tokens = np.empty(offsets[-1], np.int64)
    tokens[places] = ids
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
