"""What a target can be, and how the text of a table becomes it: classes, numbers, labels, contacts, codes.

L residues, C classes or labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

IGNORED = -1
"""The class of a residue that is not counted."""
NOT_KNOWN = "-.?"
"""Letters of a label string that leave a residue out, where they are no classes."""
_NUM_LETTERS = 128


class LabelError(Exception):
    """A text that is no label of a space; says what and why, without the row."""


@dataclass(frozen=True)
class Classes:
    """One of several names."""

    names: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        """Numbers that a head gives for it."""
        return len(self.names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """The class of each character, of those not known IGNORED, of all others less."""
        table = np.full(_NUM_LETTERS + 1, IGNORED - 1, np.int64)
        for letter in NOT_KNOWN:
            table[ord(letter)] = IGNORED
        for number, name in enumerate(self.names):
            if len(name) != 1 or ord(name) >= _NUM_LETTERS:
                raise LabelError(f"class {name!r}: of residues a class is one plain letter")
            table[ord(name)] = number
        return table

    def encode(self, text: str) -> NDArray[np.int64]:
        """The number of a class, as an array without axes; LabelError for a name that is none."""
        if text not in self._numbers:
            shown = ", ".join(self.names[:12]) + (", …" if len(self.names) > 12 else "")
            raise LabelError(f"label {text!r} is not one of {shown}")
        return np.array(self._numbers[text], np.int64)

    def encode_residues(self, text: str) -> NDArray[np.int64]:
        """The class of each letter (L,), IGNORED where it says that it is not known; LabelError for other letters."""
        letters = np.minimum(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), _NUM_LETTERS)
        classes_L = self._table[letters]
        if (wrong := np.flatnonzero(classes_L < IGNORED)).size:
            place = int(wrong[0])
            raise LabelError(f"label {text[place]!r} at residue {place + 1} is not one of {', '.join(self.names)}")
        return classes_L


@dataclass(frozen=True)
class Numbers:
    """A number; `mean` and `deviation` are those of the training examples."""

    mean: float = 0.0
    deviation: float = 1.0

    num_outputs = 1

    def encode(self, text: str) -> NDArray[np.float64]:
        """The number, as an array without axes; LabelError for what is none, or not finite."""
        try:
            value = float(text)
        except ValueError:
            raise LabelError(f"label {text!r} is no number") from None
        if not np.isfinite(value):
            raise LabelError(f"label {text!r} is not finite")
        return np.array(value, np.float64)


@dataclass(frozen=True)
class Labels:
    """Any of several names, joined by `separator`; none where the text is empty."""

    names: tuple[str, ...]
    separator: str = "|"

    @property
    def num_outputs(self) -> int:
        """Numbers that a head gives for it."""
        return len(self.names)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Which labels the text names (C,), 0 or 1; LabelError for a name that is none."""
        found = np.zeros(len(self.names), np.int64)
        for name in self.parts(text):
            if name not in self.names:
                raise LabelError(f"label {name!r} is not one of {', '.join(self.names)}")
            found[self.names.index(name)] = 1
        return found

    def parts(self, text: str) -> Sequence[str]:
        """The names that a text joins."""
        return [part.strip() for part in text.split(self.separator) if part.strip()]


@dataclass(frozen=True)
class Contacts:
    """Whether two residues are closer than this; targets are coordinates (L, 3), not a number where not known."""

    max_angstroms: float = 8.0

    num_outputs = 1


@dataclass(frozen=True)
class Codes:
    """A code whose parts are levels, found by nearest neighbours; nothing is learned."""

    num_outputs = 0

    def encode(self, text: str) -> NDArray[np.str_]:
        """The code itself."""
        if not text:
            raise LabelError("the code is empty")
        return np.array(text)


TargetSpace = Classes | Numbers | Labels | Contacts | Codes
