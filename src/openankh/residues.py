"""Checks and cleans the residue letters of one sequence, and finds the exact place of a letter that does not belong."""

import re
import string
from dataclasses import dataclass
from typing import Literal

from openankh.decompression import MAX_EXPANSION
from openankh.errors import UserError

_BLANKS = b" \t"
_UPPER = string.ascii_uppercase.encode()
_LOWER = string.ascii_lowercase.encode()
_TO_UPPER = bytes.maketrans(_LOWER, _UPPER)


_LINE_STARTS = {
    b"@": "the line looks like FASTQ; keep protein FASTA records only",
    b"+": "the line looks like FASTQ; keep protein FASTA records only",
    b";": 'comment lines are no longer part of FASTA; remove them (grep -v "^;")',
    b">": "white space stands before a header's >; remove it",
}
_REMEDIES = {
    b"-": "gaps belong to alignments; remove them (and align later if needed)",
    b".": "gaps belong to alignments; remove them (and align later if needed)",
    b"*": "a stop inside a sequence; split it there or correct the reading frame (only a final * is dropped)",
    b" ": "white space inside a sequence line; remove it, or start the line with > if it is a header",
    b"\t": "white space inside a sequence line; remove it, or start the line with > if it is a header",
    b">": "a header must start its own line; put a line break before it",
    b"\x00": "a NUL byte: the file is binary or was damaged; copy or export it again",
    b"\r": "a stray carriage return; rewrite the file with one kind of line ends",
}


@dataclass(frozen=True)
class ReadOptions:
    """What a FASTA reader accepts.

    letters: the residue letters, capitals. unknown: what becomes of other letters, an error or `X`. case: whether lower
    case is turned to capitals or an error. max_residues: the longest sequence. max_expansion: the most bytes a
    compressed file may unpack to for each of its bytes. max_header_bytes: the longest header line.
    Raises UserError for a limit below 1.
    """

    letters: str = "ACDEFGHIKLMNPQRSTVWYXBOUZ"
    unknown: Literal["error", "x"] = "error"
    case: Literal["upper", "error"] = "upper"
    max_residues: int = 1_000_000
    max_expansion: float = MAX_EXPANSION
    max_header_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        assert self.letters and set(self.letters) <= set(string.ascii_uppercase), "letters are capitals A to Z"
        assert self.unknown in ("error", "x") and self.case in ("upper", "error")
        assert self.unknown == "error" or "X" in self.letters, "unknown letters become X, so X must be a letter"
        for limit in ("max_residues", "max_expansion", "max_header_bytes"):
            if not getattr(self, limit) >= 1:
                raise UserError(f"{limit} is {getattr(self, limit)}; it must be at least 1")


@dataclass
class ReadCounts:
    """What was read so far, and what was changed on the way, in residues; `stops_dropped` counts sequences."""

    records: int = 0
    residues: int = 0
    upper_cased: int = 0
    stops_dropped: int = 0
    unknown_replaced: int = 0


class MisfitError(Exception):
    """A character that is no residue: `line` counts from 0 at the first sequence line, `column` from 1."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.column, self.problem = line, column, problem


class Residues:
    """The letters that ReadOptions allows, as byte tables."""

    def __init__(self, options: ReadOptions) -> None:
        letters = options.letters.encode()
        others = bytes(set(_UPPER) - set(letters))
        accepted = _UPPER if options.unknown == "x" else letters
        self._others = others if options.unknown == "x" else b""
        self._to_x = bytes.maketrans(self._others, b"X" * len(self._others))
        self._letters = letters
        self.clean = letters + b"\n"
        if options.case == "upper":
            accepted += accepted.lower()
        self._accepted = accepted
        self._misfit = re.compile(b"[^" + accepted + b"]")

    def read(self, body: bytes, counts: ReadCounts) -> bytes:
        """Return the capital letters of a record's sequence lines, without line ends and a final `*`.

        Counts what it changed. Raises MisfitError for the first character that is neither a residue nor to be replaced.
        """
        residues = b"".join([line.strip(_BLANKS) for line in body.split(b"\n")])
        stops = residues.endswith(b"*")
        if stops:
            residues = residues[:-1]
        if residues.translate(None, self._accepted):
            misfit = self.misfit(body)
            assert misfit is not None
            raise misfit
        if not residues:
            return b""
        counts.stops_dropped += stops
        num_capitals = len(residues.translate(None, _LOWER))
        if num_capitals != len(residues):
            counts.upper_cased += len(residues) - num_capitals
            residues = residues.translate(_TO_UPPER)
        if self._others and (num_known := len(residues.translate(None, self._others))) != len(residues):
            counts.unknown_replaced += len(residues) - num_known
            residues = residues.translate(self._to_x)
        return residues

    def misfit(self, text: bytes) -> MisfitError | None:
        """Find a misfit in sequence lines that may end anywhere, or return None."""
        for number, line in enumerate(text.split(b"\n")):
            found = self._misfit.search(line.strip(_BLANKS))
            if found is not None:
                indent = len(line) - len(line.lstrip(_BLANKS))
                return MisfitError(
                    number, indent + found.start() + 1, self._problem(line.strip(_BLANKS), found.start())
                )
        return None

    def _problem(self, line: bytes, place: int) -> str:
        """Say what is wrong with the character at `place` of a stripped line, and what to do."""
        byte = line[place : place + 1]
        return f"{_shown(line[place : place + 4])} is no residue; {self._remedy(byte, line, place)}"

    def _remedy(self, byte: bytes, line: bytes, place: int) -> str:
        if place == 0 and byte in _LINE_STARTS:
            return _LINE_STARTS[byte]
        if line.startswith(b"\xef\xbb\xbf>", place):
            return "a byte order mark stands before a header, as when files are joined; remove it"
        if byte.isalpha():
            if byte.islower() and byte.upper() in self._letters:
                return "lower case is refused here; allow it (case upper) or write capitals"
            return f"known letters are {self._letters.decode()}; correct it, or read it as X (unknown x)"
        if byte.isdigit():
            return "digits in a sequence come from GenBank or numbered listings; give plain FASTA"
        return _REMEDIES.get(byte, "remove or correct it")


def _shown(text: bytes) -> str:
    """Quote the first character of UTF-8 text; where it is not UTF-8, its first byte."""
    for length in range(1, len(text) + 1):
        try:
            return ascii(text[:1].decode()) if length == 1 else repr(text[:length].decode())
        except UnicodeDecodeError:
            continue
    return f"the byte 0x{text[0]:02x}"
