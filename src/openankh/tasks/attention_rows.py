"""Attention maps as what a head reads of a protein: for each residue its place in all maps with every other one.

L residues, M maps (layers x heads).
"""

import numpy as np
from numpy.typing import NDArray

from openankh.embedding.embedder import Embedder
from openankh.errors import UserError
from openankh.tasks.attention_contacts import corrected
from openankh.tasks.attention_maps import attention_maps
from openankh.tasks.cached_states import Preprocessing

_MOST_BYTES = 8 << 30
_COPIES = 4
"""As many times its maps a protein takes while they are made and read."""


class AttentionRows:
    """The maps of an encoder, symmetrised and corrected, made when they are asked for; nothing of them is kept."""

    def __init__(self, embedder: Embedder, preprocessing: Preprocessing) -> None:
        assert preprocessing.reads == "attention"
        self.embedder = embedder
        self._preprocessing = preprocessing
        self._letters = frozenset(embedder.vocab.letters)

    @property
    def preprocessing(self) -> Preprocessing:
        """How the maps are made; its width is their number."""
        return self._preprocessing

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """(L, L, M); UserError for a protein whose maps would fill the memory."""
        needed = 4 * _COPIES * self._preprocessing.width * len(sequence) ** 2
        if needed > _MOST_BYTES:
            raise UserError(
                f"a protein of {len(sequence):,} residues: its {self._preprocessing.width:,} attention maps would take "
                f"{needed / 2**30:.0f} GiB; leave it out, or train another head"
            )
        known = "".join(letter if letter in self._letters else "X" for letter in sequence)
        maps_MLL = attention_maps(self.embedder.model, self.embedder.vocab, known, self.embedder.prefix)
        return np.ascontiguousarray(corrected(maps_MLL).transpose(1, 2, 0))
