"""An immutable alphabet of proteins: text to token ids and back by one table look-up.

The order of the pieces is part of every checkpoint: the same letters under other ids are another vocabulary.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError

PAD, EOS, UNK = 0, 1, 2
SPECIAL_PIECES = ("<pad>", "</s>", "<unk>")
AMINO_ACIDS = "ALGVSREDTIPKFQNYMHWC"
"""The 20 standard amino acids in the order of Ankh's vocabulary, most frequent first."""

Kind = TypeVar("Kind", bound=np.generic)

_NO_RESIDUE = PAD
"""What the encoding table holds for a byte that is no residue: never the id of one."""


@dataclass(frozen=True)
class Vocab:
    """The pieces of a model, by id.

    Ids 0, 1 and 2 are `<pad>`, `</s>` and `<unk>`; a residue is a piece of one capital letter whose id fits a byte;
    `<extra_id_i>` are the sentinels. Raises UserError for pieces that cannot serve as a protein vocabulary.
    """

    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        for token_id, piece in enumerate(SPECIAL_PIECES):
            if self.pieces[token_id : token_id + 1] != (piece,):
                found = self.pieces[token_id] if token_id < len(self.pieces) else "nothing"
                raise UserError(f"vocabulary: id {token_id} must be {piece}, found {found!r}: not a T5 vocabulary")
        if len(self._ids) != len(self.pieces):
            twice = next(piece for token_id, piece in enumerate(self.pieces) if self._ids[piece] != token_id)
            raise UserError(f"vocabulary: the piece {twice!r} has more than one id; every piece needs one id")
        self._check_residues()
        self._check_sentinels()

    def _check_residues(self) -> None:
        missing = "".join(sorted(set(AMINO_ACIDS) - set(self.letters)))
        if missing == "".join(sorted(AMINO_ACIDS)):
            raise UserError("vocabulary: no one-letter residues among its pieces: not a protein vocabulary")
        if missing:
            raise UserError(f"vocabulary: no piece (with an id below 256) for the amino acids {missing}")

    def _check_sentinels(self) -> None:
        named = sum(piece.startswith("<extra_id_") for piece in self.pieces)
        if named != self.num_sentinels:
            raise UserError(
                f"vocabulary: {named} sentinels, but <extra_id_{self.num_sentinels}> is missing; "
                "they must be numbered from 0 without gaps"
            )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: token_id for token_id, piece in enumerate(self.pieces)}

    @property
    def size(self) -> int:
        """The number of pieces; a model may have more embedding rows than this, never fewer."""
        return len(self.pieces)

    @cached_property
    def letters(self) -> str:
        """The residues' letters, in the order of their ids."""
        return "".join(piece for piece in self.pieces[:256] if len(piece) == 1 and "A" <= piece <= "Z")

    @cached_property
    def residue_ids(self) -> NDArray[np.uint8]:
        """The ids of `letters` (read-only)."""
        return _read_only(np.array([self._ids[letter] for letter in self.letters], dtype=np.uint8))

    @cached_property
    def standard_ids(self) -> NDArray[np.uint8]:
        """The ids of the 20 standard amino acids, ascending (read-only)."""
        return _read_only(np.array(sorted(self._ids[letter] for letter in AMINO_ACIDS), dtype=np.uint8))

    @cached_property
    def num_sentinels(self) -> int:
        """How many sentinels there are, counted from `<extra_id_0>` on."""
        count = 0
        while f"<extra_id_{count}>" in self._ids:
            count += 1
        return count

    @cached_property
    def sentinel_ids(self) -> NDArray[np.int64]:
        """`sentinel_ids[i]` is the id of `<extra_id_i>` (read-only)."""
        ids = [self._ids[f"<extra_id_{number}>"] for number in range(self.num_sentinels)]
        return _read_only(np.array(ids, dtype=np.int64))

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """The task prefixes, such as `[NLU]`, in the order of their ids."""
        return tuple(piece for piece in self.pieces if piece.startswith("[") and piece.endswith("]"))

    def has_prefix(self, name: str) -> bool:
        """Whether the task prefix, brackets included, is one of the pieces."""
        return name in self.prefixes

    def prefix_id(self, name: str) -> int:
        """The id of a task prefix such as `[NLU]`; UserError when this vocabulary has none of that name."""
        if not self.has_prefix(name):
            known = ", ".join(self.prefixes) or "none"
            raise UserError(f"prefix {name!r}: not in this model's vocabulary; its prefixes: {known}")
        return self._ids[name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the pieces in order, in hexadecimal: equal exactly when two vocabularies are."""
        return hashlib.sha256(json.dumps(self.pieces).encode("ascii")).hexdigest()

    def encode(self, sequence: str | bytes) -> NDArray[np.uint8]:
        """Ids of the residues, one a letter (L,), with no prefix and no `</s>`.

        Raises UserError naming the first character that is no residue of this vocabulary, and its 1-based column.
        """
        ids = _ascii(sequence).translate(self._table)
        if (column := ids.find(_NO_RESIDUE)) >= 0:
            raise UserError(self._refusal(sequence, column))
        return np.frombuffer(ids, dtype=np.uint8)

    def encode_batch(self, sequences: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Ids of all residues end to end (N,), and where each sequence begins, with the end (B + 1,).

        Raises UserError naming the 1-based sequence and column of the first character that is no residue.
        """
        offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences)), out=offsets[1:])
        ids = _ascii("".join(sequences)).translate(self._table)
        if (place := ids.find(_NO_RESIDUE)) >= 0:
            index = int(np.searchsorted(offsets, place, side="right")) - 1
            refusal = self._refusal(sequences[index], place - int(offsets[index]))
            raise UserError(f"sequence {index + 1} of {len(sequences)}: {refusal}")
        return np.frombuffer(ids, dtype=np.uint8), offsets

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """The pieces of the ids, joined; residues give back the sequence they were encoded from."""
        return "".join([self.pieces[token_id] for token_id in np.asarray(ids, dtype=np.int64).tolist()])

    @cached_property
    def _table(self) -> bytes:
        table = np.full(256, _NO_RESIDUE, dtype=np.uint8)
        table[np.frombuffer(self.letters.encode("ascii"), dtype=np.uint8)] = self.residue_ids
        return table.tobytes()

    def _refusal(self, sequence: str | bytes, column: int) -> str:
        found = sequence[column] if isinstance(sequence, str) else chr(sequence[column])
        remedy = f"use one of {self.letters}"
        if found.upper() in self.letters:
            remedy = "write residues in upper case"
        elif found in "-.":
            remedy = "gaps belong to alignments; remove them"
        return f"column {column + 1}: {found!r} is no residue of this vocabulary; {remedy}"


def _ascii(sequence: str | bytes) -> bytearray:
    """One byte a character (what is beyond ASCII becomes `?`, no residue), in memory that NumPy may write to."""
    return bytearray(sequence.encode("ascii", "replace") if isinstance(sequence, str) else sequence)


def _read_only(array: NDArray[Kind]) -> NDArray[Kind]:
    array.flags.writeable = False
    return array


def _with_sentinels(pieces: tuple[str, ...], size: int) -> Vocab:
    """Fill up to `size` with sentinels numbered from the end, as T5 does."""
    return Vocab(pieces + tuple(f"<extra_id_{size - 1 - token_id}>" for token_id in range(len(pieces), size)))


def ankh_vocab() -> Vocab:
    """The 144 pieces of Ankh and Ankh2."""
    return ANKH


def openankh_vocab() -> Vocab:
    """The 256 pieces of new models: Ankh's order, `[NLU]` and `[S2S]` in front of the residues, 225 sentinels."""
    return _OPENANKH


ANKH = _with_sentinels((*SPECIAL_PIECES, *AMINO_ACIDS, *"XBOUZ"), size=144)
_OPENANKH = _with_sentinels((*SPECIAL_PIECES, "[NLU]", "[S2S]", *AMINO_ACIDS, *"XBOUZJ"), size=256)
