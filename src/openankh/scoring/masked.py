"""What a model expects at hidden residues, one hidden at a time: Ankh's one-sentinel form.

The encoder reads the protein with one residue replaced by `<extra_id_0>`, the decoder `<pad> <extra_id_0>`, and what it
expects next is read, among residues alone. P places asked about, R residue letters of the vocabulary, S tokens read.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.generation.likelihood import Question, log_probs
from openankh.generation.reader import Reader
from openankh.scoring.window import Window
from openankh.vocab import EOS, Vocab

Told = Callable[[int, int], None]
"""Told how many of how many inputs have been read."""


class MaskedResidues:
    """Answers for many places and proteins at once; each different input is read once, those remembered not again."""

    def __init__(self, reader: Reader, vocab: Vocab, window: Window, told: Told | None = None) -> None:
        if not vocab.num_sentinels:
            raise UserError("the model's vocabulary has no sentinels, so that no residue can be hidden; use likelihood")
        self._reader, self._vocab, self._window, self._told = reader, vocab, window, told
        self._front = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
        self._known: dict[bytes, NDArray[np.float64]] = {}
        self.num_inputs_read = 0

    def rows(self, sequence: str, places: Sequence[int], *, remember: bool = False) -> NDArray[np.float64]:
        """Natural log-probabilities of the vocabulary's residues at these places, counted from 0, (P, R).

        They add up to 1 over all residue letters. With `remember` the answers serve later calls too.
        """
        ids = self._vocab.encode(sequence).astype(np.int64)
        keys = [blake2b(self._hidden(ids, place).tobytes(), digest_size=16).digest() for place in places]
        new = {key: place for key, place in zip(keys, places, strict=True) if key not in self._known}
        found = dict(zip(new, self._ask(ids, list(new.values())), strict=True))
        if remember:
            self._known |= found
        rows = [found[key] if key in found else self._known[key] for key in keys]
        return np.array(rows).reshape(len(places), len(self._vocab.letters))

    def _hidden(self, ids_L: NDArray[np.int64], place: int) -> NDArray[np.int64]:
        """What the encoder reads, (S,)."""
        window = self._window.around(place, len(ids_L))
        shown = ids_L[window].copy()
        shown[place - window.start] = self._vocab.sentinel_ids[0]
        return np.concatenate([self._front, shown, [EOS]]).astype(np.int64)

    def _ask(self, ids_L: NDArray[np.int64], places: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        # Row 1 is what follows <pad> <extra_id_0>; the target's second token is never read.
        target = self._vocab.sentinel_ids[[0, 0]]
        questions = (Question(self._hidden(ids_L, place), target) for place in places)
        for number, rows_TV in enumerate(log_probs(self._reader, questions), start=1):
            self.num_inputs_read += 1
            if self._told:
                self._told(number, len(places))
            yield among_residues(rows_TV[1:2], self._vocab)[0]


def among_residues(rows_TV: NDArray[np.floating], vocab: Vocab) -> NDArray[np.float64]:
    """Log-probabilities of the residues' letters, given that it is a residue, (T, R)."""
    rows_TR = rows_TV[:, vocab.residue_ids].astype(np.float64)
    top_T1 = rows_TR.max(1, keepdims=True)
    return rows_TR - top_T1 - np.log(np.exp(rows_TR - top_T1).sum(1, keepdims=True))
