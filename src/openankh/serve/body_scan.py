"""JSON judged while it comes in: depth, strings, and how long and how many they are, before it is read whole.

It looks at the letters alone that give JSON its shape. What is no JSON at all is left to the parser, as long as it is
within the bounds.
"""

import re
from dataclasses import dataclass, field

from openankh.serve.problems import Problem

_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')


@dataclass(frozen=True)
class JsonBounds:
    """How deep JSON may nest, how many values and strings it may have, and bytes of its longest string."""

    depth: int
    values: int
    string_bytes: int


@dataclass(eq=False)
class JsonScan:
    """Takes a document in pieces; raises Problem 422 with the first piece that is beyond the bounds."""

    bounds: JsonBounds
    _depth: int = 0
    _num_values: int = 0
    _string_bytes: int = 0
    _in_string: bool = field(default=False)
    _escaped: bool = False

    def feed(self, piece: bytes) -> None:
        """Look at the next piece."""
        place = 0
        while place < len(piece):
            place = self._inside(piece, place) if self._in_string else self._outside(piece, place)

    def _outside(self, piece: bytes, place: int) -> int:
        """To the beginning of the next string, or the end."""
        for found in _OUTSIDE.finditer(piece, place):
            letter = found[0]
            if letter == b'"':
                self._in_string, self._string_bytes = True, 0
                self._count()
                return found.end()
            if letter == b",":
                self._count()
            elif letter in b"[{":
                self._depth += 1
                if self._depth > self.bounds.depth:
                    raise Problem(422, f"JSON nested more than {self.bounds.depth} deep")
                self._count()
            else:
                self._depth -= 1
        return len(piece)

    def _inside(self, piece: bytes, place: int) -> int:
        """To the end of the string, or of the piece."""
        if self._escaped:
            self._escaped, place = False, place + 1
            self._lengthen(1)
        start = place
        for found in _INSIDE.finditer(piece, place):
            if found.start() < place:
                continue  # the letter behind a backslash
            if found[0] == b'"':
                self._lengthen(found.start() - start)
                self._in_string = False
                return found.end()
            place = found.end() + 1
        self._escaped = place > len(piece)
        self._lengthen(len(piece) - start)
        return len(piece)

    def _count(self) -> None:
        self._num_values += 1
        if self._num_values > self.bounds.values:
            raise Problem(422, f"more than {self.bounds.values:,} values; send fewer proteins or variants at a time")

    def _lengthen(self, num_bytes: int) -> None:
        self._string_bytes += num_bytes
        if self._string_bytes > self.bounds.string_bytes:
            raise Problem(422, f"a text of more than {self.bounds.string_bytes:,} bytes; the protein is too long")
