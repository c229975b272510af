"""Turns the line ends of Unix, Windows and old Macs into LF as text streams by, and counts the lines."""

from collections.abc import Iterator

from openankh.decompression import InputError


class LineEnds:
    """The line ends of one file: `line` is the line reached so far; `name` is the file's, for its faults.

    The first line end decides: LF and CRLF may be mixed, the lone CR of old Macs must then end every line.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.line = 1
        self._carriage_return: bool | None = None

    def blocks(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        """Yield text with LF line ends; InputError at a line end of the other kind, after the text before it."""
        held = b""
        for block in raw:
            block = held + block if held else block
            # A CR at the end of a block may be half of a CRLF.
            held = b"\r" if block.endswith(b"\r") else b""
            yield from self._unified(block[:-1] if held else block)
        if held:
            yield from self._unified(b"\r" if self._carriage_return else b"\n")

    def _unified(self, block: bytes) -> Iterator[bytes]:
        if self._carriage_return is None:
            self._decide(block)
        if self._carriage_return:
            text, other = block.replace(b"\r", b"\n"), block.find(b"\n")
        elif b"\r" in block:
            text = block.replace(b"\r\n", b"\n")
            other = text.find(b"\r")
        else:
            text, other = block, -1
        if other >= 0:
            text = text[:other]
        self.line += text.count(b"\n")
        if text:
            yield text
        if other >= 0:
            raise InputError(self._name, "line ends of two kinds (a lone CR and LF); rewrite the file with one kind")

    def _decide(self, block: bytes) -> None:
        first = min((place for place in (block.find(b"\n"), block.find(b"\r")) if place >= 0), default=-1)
        if first >= 0:
            self._carriage_return = block[first : first + 1] == b"\r" and block[first + 1 : first + 2] != b"\n"
