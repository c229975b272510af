"""A strict streaming FASTA reader: every record as written and in order, or one clear line on what is wrong and where.

Plain, gz, xz, bz2 and zst, from a path, a stream or standard input, in constant memory. What it decides:

- Lines end in LF, CRLF or (throughout) the CR of old Macs; wrapped and unwrapped sequences read the same; blank lines
  and white space at the ends of sequence lines are ignored; a UTF-8 byte order mark at the start is skipped.
- The id is what stands between `>` and the first space or tab, the description is the rest. Both are UTF-8; bytes that
  are not UTF-8 become surrogates, and `text.encode("utf-8", "surrogateescape")` gives them back. Ids may repeat and may
  hold anything, NUL included.
- A final `*` is dropped, lower case becomes capitals, both counted; everything else that is no residue is an error.
- An error is a UserError in one line with file, line, and for a character its column (from 1, in bytes) and record.
  Records before it have been yielded; in a damaged compressed file the record
  being read when it breaks is never yielded.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from openankh.decompression import BLOCK_BYTES, ByteSource, InputError, printable, source_name
from openankh.errors import UserError
from openankh.foreign_formats import SNIFF_BYTES, foreign_format
from openankh.line_ends import LineEnds
from openankh.residues import MisfitError, ReadCounts, ReadOptions, Residues

__all__ = ["FastaReader", "ReadCounts", "ReadOptions", "Record"]

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_BODY_SPACE = b" \t\n"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BLANK_BYTES = 1 << 16
"""A record's lines may hold this many bytes more than its limits ask for before they count as endless blanks."""


@dataclass(frozen=True, slots=True)
class Record:
    """One protein: `id` and `description` from its header, `sequence` in capitals, `line` of its header (from 1)."""

    id: str
    description: str
    sequence: str
    line: int


class FastaReader(AbstractContextManager["FastaReader"]):
    """Reads the records of a path, "-" (standard input) or an open binary stream, one by one.

    Iterating opens the source; iterating again reads a path anew, a stream only once. `counts` and `bytes_read` (bytes
    of the file consumed, still compressed) belong to the latest iteration. Raises UserError while iterating.
    """

    def __init__(
        self, source: Path | str | BinaryIO, options: ReadOptions | None = None, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.name = source_name(source)
        self.options = options or ReadOptions()
        self.counts = ReadCounts()
        self._source = source
        self._block_bytes = block_bytes
        self._bytes: ByteSource | None = None
        self._records: Generator[Record, None, None] | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file so far, before decompression."""
        return self._bytes.bytes_read if self._bytes is not None else 0

    def __iter__(self) -> Iterator[Record]:
        reusable = isinstance(self._source, str | Path) and str(self._source) != "-"
        if self._bytes is not None and not reusable:
            raise UserError(f"{self.name}: can be read only once; save it to a file to read it again")
        self.close()
        self.counts = ReadCounts()
        self._bytes = ByteSource(self._source, self.options.max_expansion, self._block_bytes)
        self._records = _records(self._bytes, self.options, self.counts)
        return self._records

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type["FastaReader"], tuple[str, ReadOptions]]:
        """A reader of the same file that has not begun: what reaches another process."""
        assert isinstance(self._source, str | Path) and str(self._source) != "-", "a stream cannot travel"
        return FastaReader, (str(Path(self._source).absolute()), self.options)

    def close(self) -> None:
        """End the iteration and close the file."""
        if self._records is not None:
            self._records.close()
        if self._bytes is not None:
            self._bytes.close()


def _records(source: ByteSource, options: ReadOptions, counts: ReadCounts) -> Generator[Record, None, None]:
    lines = LineEnds(source.name)
    try:
        with source:
            parser = _Parser(source.name, options, counts)
            for text in lines.blocks(_checked_start(source)):
                yield from parser.feed(text)
            yield from parser.finish()
    except InputError as fault:
        raise UserError(f"{source.name}, line {lines.line}: {fault.problem}") from None


def _checked_start(source: ByteSource) -> Iterator[bytes]:
    """Yield the source's blocks without a byte order mark, once its first bytes have been seen to be FASTA."""
    blocks = source.blocks()
    head, fault = _head(blocks)
    head = head.removeprefix(_BOM)
    start = head.lstrip(_SPACE)
    problem = foreign_format(start[:SNIFF_BYTES]) if start else None
    if problem is not None:
        line = len(_LINE_END.findall(head[: len(head) - len(start)])) + 1
        raise UserError(f"{source.name}, line {line}: {problem}")
    # In pieces of the size asked for, so that a small one exercises every seam.
    for place in range(0, len(head), source.block_bytes):
        yield head[place : place + source.block_bytes]
    if fault is not None:
        raise fault
    yield from blocks


def _head(blocks: Iterator[bytes]) -> tuple[bytes, InputError | None]:
    """Take the first SNIFF_BYTES or more, and what made them fewer if it was not the end."""
    head = b""
    try:
        while len(head) < SNIFF_BYTES and (block := next(blocks, b"")):
            head += block
    except InputError as fault:
        return head, fault
    return head, None


class _Parser:
    """Cuts text with LF line ends into records at each `>` that begins a line, and checks them."""

    def __init__(self, name: str, options: ReadOptions, counts: ReadCounts) -> None:
        self._name = name
        self._options = options
        self._counts = counts
        self._residues = Residues(options)
        self._line = 1
        self._indented = False
        self._pending = _Pending()
        self._max_bytes = options.max_header_bytes + 4 * options.max_residues + _BLANK_BYTES

    def feed(self, text: bytes) -> Iterator[Record]:
        """Yield the records that `text` completes: those followed by another header."""
        if not self._pending.pieces:
            text = self._first_header(text)
            if not text:
                return
        elif text.startswith(b">") and self._pending.pieces[-1].endswith(b"\n"):
            yield from self._parse(self._pending.take(b"")[:-1])
        end = text.rfind(b"\n>")
        if end >= 0:
            yield from self._parse(self._pending.take(text[:end]))
            text = text[end + 1 :]
        self._pending.add(text)
        self._check_pending()

    def finish(self) -> Iterator[Record]:
        """Yield the last record; UserError if there was none."""
        if not self._pending.pieces:
            raise self._error(self._line, "the file holds no records; give one with FASTA records")
        yield from self._parse(self._pending.take(b"").removesuffix(b"\n"))

    def _first_header(self, text: bytes) -> bytes:
        """Skip blank lines before the first header."""
        start = text.lstrip(b" \t\n")
        blank = text[: len(text) - len(start)]
        self._line += blank.count(b"\n")
        if blank:
            self._indented = not blank.endswith(b"\n")
        problem = foreign_format(start[:SNIFF_BYTES]) if start else None
        if problem is not None:
            raise self._error(self._line, problem)
        if start and self._indented:
            raise self._error(self._line, "there is white space before the first >; remove it")
        return start

    def _parse(self, text: bytes) -> Iterator[Record]:
        """Yield the records of whole text: `>` first, without its last line end."""
        counts, clean = self._counts, self._residues.clean
        max_residues = self._options.max_residues
        max_header_bytes = self._options.max_header_bytes
        for chunk in text[1:].split(b"\n>"):
            header, _, body = chunk.partition(b"\n")
            name, description = _words(header)
            line = self._line
            self._line = line + chunk.count(b"\n") + 1
            residues = b"" if body.translate(None, clean) else body.replace(b"\n", b"")
            if not (name and 0 < len(residues) <= max_residues and len(chunk) <= max_header_bytes):
                residues = self._checked(header, body, line)
            counts.records += 1
            counts.residues += len(residues)
            yield Record(name, description, residues.decode("ascii"), line)

    def _checked(self, header: bytes, body: bytes, line: int) -> bytes:
        """Return the residues of a record that is not plainly clean; UserError for the first thing wrong with it."""
        num_residues = len(body.translate(None, _BODY_SPACE)) - body.rstrip(_BODY_SPACE).endswith(b"*")
        self._check_size(header, body, num_residues, line)
        try:
            residues = self._residues.read(body, self._counts)
        except MisfitError as misfit:
            raise self._misplaced(header, misfit, line) from None
        if not residues:
            raise self._error(line, "has no sequence; remove it or add its sequence", header)
        return residues

    def _check_pending(self) -> None:
        """Refuse an unfinished record that is too long already: it must not fill the memory."""
        pending = self._pending
        num_residues = pending.num_residues - 1  # it may end in *
        if num_residues > self._options.max_residues or pending.num_bytes > self._max_bytes:
            header, _, body = b"".join(pending.pieces)[1:].partition(b"\n")
            self._check_size(header, body, num_residues, self._line)
        elif pending.num_header_bytes > self._options.max_header_bytes:
            self._check_size(b"".join(pending.pieces)[1:], b"", 0, self._line)

    def _check_size(self, header: bytes, body: bytes, num_residues: int, line: int) -> None:
        """UserError for a record with a header or sequence over the limits; `body` may be its beginning."""
        options = self._options
        if len(header) > options.max_header_bytes:
            limit = f"{options.max_header_bytes:,} bytes"
            raise self._error(line, f"the header is longer than {limit}; shorten it, or raise max_header_bytes")
        if not _words(header)[0]:
            raise self._error(line, "the header is empty; write a name after the >")
        if num_residues > options.max_residues:
            # What is no sequence at all is better called by its first odd character.
            misfit = self._residues.misfit(body[: min(SNIFF_BYTES, options.max_residues)])
            if misfit is not None:
                raise self._misplaced(header, misfit, line)
            limit = f"{options.max_residues:,} residues"
            raise self._error(line, f"is longer than {limit}; if that is right, raise max_residues", header)
        if len(header) + len(body) > self._max_bytes:
            raise self._error(line, "has far more blank space than sequence; remove the blank lines", header)

    def _misplaced(self, header: bytes, misfit: MisfitError, line: int) -> UserError:
        return self._error(line + 1 + misfit.line, misfit.problem, header, misfit.column)

    def _error(self, line: int, problem: str, header: bytes | None = None, column: int | None = None) -> UserError:
        place = f"line {line}" if column is None else f"line {line}, column {column}"
        record = (
            "" if header is None else f"record '{printable(_words(header)[0])}'" + (" " if column is None else ": ")
        )
        return UserError(f"{self._name}, {place}: {record}{problem}")


class _Pending:
    """The text of a record whose end has not been seen, with counts that cost nothing to keep."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[bytes] = []
        self.num_bytes = self.num_header_bytes = self.num_residues = 0
        self._in_header = True

    def add(self, text: bytes) -> None:
        self.pieces.append(text)
        self.num_bytes += len(text)
        if self._in_header:
            end = text.find(b"\n")
            self._in_header = end < 0
            header = text if end < 0 else text[:end]
            self.num_header_bytes += len(header) - (len(self.pieces) == 1)  # without the >
            text = text[len(header) :]
        self.num_residues += len(text.translate(None, _BODY_SPACE))

    def take(self, text: bytes) -> bytes:
        """Return all text, with `text` behind it, and start anew."""
        whole = b"".join([*self.pieces, text])
        self._clear()
        return whole


def _words(header: bytes) -> tuple[str, str]:
    """Part a header line into id and description at the first space or tab."""
    words = header.decode("utf-8", "surrogateescape").strip(" \t")
    name, _, description = words.partition(" ")
    if "\t" in name:
        name, _, description = words.partition("\t")
    return name, description.lstrip(" \t")
