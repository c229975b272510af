"""A script: what may be written for one protein, choice by choice, and what is put between the choices.

L choices at most, N choices of later scripts, C tokens that the decoder reads a step (the last choice and what follows
it), V vocabulary, M masks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.generation.matching import can_match
from openankh.vocab import EOS


@dataclass(frozen=True, eq=False)
class Script:
    """`first` (C,) is read before the first choice, `tails` (L, C - 1) with each choice.

    Choice i is among the tokens of `masks[mask_of[i]]` (M, V); `</s>`, where it is one of them, ends the writing, and
    so does choice L. `required` are tokens that have to occur among the choices, as often as they are listed; those of
    later scripts, of which `mask_of` (L + N) tells too, can hold them as well.
    """

    first: NDArray[np.int64]
    tails: NDArray[np.int64]
    masks: NDArray[np.bool_]
    mask_of: NDArray[np.int64]
    required: tuple[int, ...] = ()
    num_later: int = 0

    def __post_init__(self) -> None:
        assert len(self) and self.tails.shape == (len(self), len(self.first) - 1)
        assert self.masks.any(1).all(), "every choice needs a token"
        if self.required and not self.can_end(self.required, 0):
            raise UserError(
                f"the {len(self.required)} required residues do not fit into the {len(self.mask_of)} to be written, "
                "some of which may be fixed; require fewer, or write more"
            )

    def __len__(self) -> int:
        return len(self.mask_of) - self.num_later

    @property
    def num_tokens(self) -> int:
        """Tokens that the decoder reads when all choices are made."""
        return len(self) * len(self.first)

    def allowed(self, choice: int, outstanding: tuple[int, ...] = ()) -> NDArray[np.bool_]:
        """The tokens (V,) that may be chosen so that what is still required can follow."""
        mask = self.masks[self.mask_of[choice]]
        if not outstanding:
            return mask
        mask = mask.copy()
        mask[EOS] = False
        if self.can_end(outstanding, choice + 1):
            return mask
        needed = np.zeros_like(mask)
        for token in set(outstanding):
            needed[token] = mask[token] and self.can_end(without(outstanding, token), choice + 1)
        return needed if needed.any() else mask  # a hypothesis that is dropped anyway may come here

    def can_end(self, outstanding: tuple[int, ...], choice: int) -> bool:
        """Whether choices from this one on can hold all that is still required, each one token."""
        if not outstanding:
            return True
        if len(self.mask_of) - choice < len(outstanding):
            return False
        numbers = self.mask_of[choice:]
        takes_all = np.all(self.masks[:, list(set(outstanding))], axis=1)
        if int(takes_all[numbers].sum()) >= len(outstanding):
            return True
        return can_match([np.flatnonzero(self.masks[numbers, token]).tolist() for token in outstanding])


def without(tokens: tuple[int, ...], token: int) -> tuple[int, ...]:
    """The tokens less one of this kind, if there is one."""
    if token not in tokens:
        return tokens
    place = tokens.index(token)
    return tokens[:place] + tokens[place + 1 :]
