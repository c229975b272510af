"""Which residues may be written where: an alphabet, residues that are forbidden or required, places that are fixed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.vocab import AMINO_ACIDS, EOS, Vocab


@dataclass(frozen=True)
class ResidueRules:
    """What is written is among `letters` (the 20 standard amino acids unless told), and not among `forbidden`.

    Each of `required` occurs among the residues written, as often as it stands there. `fixed` are places of the whole
    protein, counted from 1, and the letters of which one stands there.
    """

    letters: str = AMINO_ACIDS
    forbidden: str = ""
    required: str = ""
    fixed: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(
        cls,
        letters: str | None = None,
        forbid: str = "",
        require: str = "",
        fixed: Mapping[int, str] | str | None = None,
    ) -> "ResidueRules":
        """As users write them: `fixed` as {120: "H", 121: "ILV"} or `120=H,121=ILV`."""
        places = parse_fixed(fixed) if isinstance(fixed, str) else dict(fixed or {})
        shown = AMINO_ACIDS if letters is None else letters.upper()
        pairs = tuple(sorted((place, chosen.upper()) for place, chosen in places.items()))
        return cls(shown, forbid.upper(), require.upper(), pairs)

    def require_known(self, vocab: Vocab) -> None:
        """Raise UserError for letters that the vocabulary lacks and for rules that nothing can obey."""
        for name, letters in (("letters", self.letters), ("forbid", self.forbidden), ("require", self.required)):
            _require_letters(name, letters, vocab)
        free = set(self.letters) - set(self.forbidden)
        if not free:
            raise UserError("no residue is left that may be written: allow more letters, or forbid fewer")
        if missing := set(self.required) - free - {letter for _, letters in self.fixed for letter in letters}:
            raise UserError(f"required residue {min(missing)}: is not among those that may be written")
        for place, letters in self.fixed:
            if place < 1:
                raise UserError(f"fixed place {place}: places are counted from 1")
            _require_letters(f"fixed place {place}", letters, vocab)
            if not set(letters) - set(self.forbidden):
                raise UserError(
                    f"fixed place {place}: {letters or 'nothing'} is forbidden, and nothing else allowed there"
                )

    @property
    def last_fixed(self) -> int:
        """The last place that is fixed; 0 when none is."""
        return max((place for place, _ in self.fixed), default=0)

    def masks(self, places: Sequence[int], vocab: Vocab, width: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(masks (M, `width`) over token ids, which of them each place, counted from 1, has)."""
        at = dict(self.fixed)
        rows = [self._mask(self.letters, vocab, width)]
        numbers = np.zeros(len(places), np.int64)
        for number, place in enumerate(places):
            if place in at:
                numbers[number] = len(rows)
                rows.append(self._mask(at[place], vocab, width))
        return np.stack(rows), numbers

    def required_ids(self, vocab: Vocab) -> tuple[int, ...]:
        """The token ids of the required residues."""
        return tuple(vocab.encode(self.required).tolist())

    def require_fits(self, shown: str, who: str) -> None:
        """Raise UserError where a fixed place lies among the residues shown and holds another."""
        for place, letters in self.fixed:
            if place <= len(shown) and shown[place - 1] not in letters:
                raise UserError(f"{who}: place {place} is fixed as {letters}, but {shown[place - 1]} stands there")

    def _mask(self, letters: Iterable[str], vocab: Vocab, width: int) -> NDArray[np.bool_]:
        mask = np.zeros(width, bool)
        mask[vocab.encode("".join(sorted(set(letters) - set(self.forbidden))))] = True
        return mask


def with_end(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same masks with `</s>` allowed."""
    ended = masks.copy()
    ended[:, EOS] = True
    return ended


def parse_fixed(text: str) -> dict[int, str]:
    """Places and letters written `120=H,121=ILV`; UserError for anything else."""
    fixed: dict[int, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([0-9]{1,9})\s*=\s*([A-Za-z]+)", part)
        if found is None:
            raise UserError(f"fixed place {part!r}: write PLACE=LETTERS, such as 120=H, several with commas between")
        if int(found[1]) in fixed:
            raise UserError(f"fixed place {int(found[1])}: is given twice")
        fixed[int(found[1])] = found[2]
    return fixed


def _require_letters(name: str, letters: str, vocab: Vocab) -> None:
    if unknown := sorted(set(letters) - set(vocab.letters)):
        raise UserError(f"{name}: {unknown[0]!r} is no residue of this model's vocabulary; use some of {vocab.letters}")
