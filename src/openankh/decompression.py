"""Opens a file, a stream or standard input and hands out its bytes, decompressed as their first bytes demand.

A stream that is cut short, damaged, followed by foreign bytes, or that swells beyond a limit ends in an InputError:
no decompressor's own silence is trusted. Only a cut exactly between two members leaves no trace.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from openankh.errors import UserError

BLOCK_BYTES = 1 << 18
"""The most decompressed bytes asked for at once."""
READ_BYTES = 1 << 14
"""The most compressed bytes read ahead: they count as consumed when the expansion is judged."""
FREE_BYTES = 1 << 22
"""The expansion limit is not applied to the first 4 MiB that come out."""
MAX_EXPANSION = 250.0
"""Default for the most bytes that may come out for each byte that went in; real FASTA files stay under 100."""
DECODER_BYTES = 160 << 20
"""The most memory an xz or zstd stream may claim for its window: `xz -9` needs 65 MiB, `zstd --ultra` 128."""

_ZSTD_FEED_BYTES = 1 << 10
"""zstandard's streaming object has no output limit and 4 bytes may yield 128 KiB: it is fed little at once."""


class InputError(UserError):
    """The input cannot be read on: `problem` says what and what to do, without the name and the line."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.problem = problem


class Decoder(Protocol):
    """One compressed stream: what lzma's and bz2's decompressors already are."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipMember:
    """A gzip member; its checksum and length are verified by zlib."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max(max_length, 0))
        # A full output may hide more inside zlib although all input is consumed.
        self.needs_input = not self._zlib.unconsumed_tail and len(output) < max_length
        return output


class _ZstdFrame:
    """A zstd frame, ordinary or skippable."""

    def __init__(self) -> None:
        # Imported here: where it is missing, every other file can still be read.
        import zstandard

        self._zstd = zstandard.ZstdDecompressor(max_window_size=DECODER_BYTES).decompressobj()
        self._failure = zstandard.ZstdError
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data + self._waiting

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        data = self._waiting + data if self._waiting else data
        outputs, length, start = [], 0, 0
        while start < len(data) and length < max_length and not self._zstd.eof:
            outputs.append(self._decompress_piece(data[start : start + _ZSTD_FEED_BYTES]))
            length += len(outputs[-1])
            start += _ZSTD_FEED_BYTES
        self._waiting = data[start:]
        return b"".join(outputs)

    def _decompress_piece(self, piece: bytes) -> bytes:
        try:
            return self._zstd.decompress(piece)
        except self._failure as error:
            raise ValueError(str(error)) from error


def _xz_stream() -> Decoder:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=DECODER_BYTES)


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gz": _GzipMember,
    "xz": _xz_stream,
    "bz2": bz2.BZ2Decompressor,
    "zst": _ZstdFrame,
}
_DECODER_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
MAGIC_BYTES = 6
"""How many bytes tell the compressions apart."""


def compression_of(head: bytes) -> str | None:
    """Name the compression (`gz`, `xz`, `bz2`, `zst`) that a file's first bytes announce, or None."""
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"BZh") and head[3:4] in b"123456789" and head[4:5] in (b"1", b"\x17"):
        return "bz2"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zst"
    return None


def printable(text: str, max_length: int = 80) -> str:
    """Show a name or an id on one line: what cannot be printed as an escape, what is long cut."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: max_length + 1])
    return shown if len(shown) <= max_length else shown[: max_length - 3] + "..."


def _open(source: Path | str) -> BinaryIO:
    """Open a path for reading; UserError when it is missing, a folder or not readable."""
    name = printable(str(source), 300)
    try:
        return open(source, "rb", buffering=0)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{name}: is a folder; name one FASTA file in it") from None
    except PermissionError:
        raise UserError(f"{name}: not readable by you; change its permissions or copy it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be opened ({printable(reason)}); check the path") from None


class ByteSource(AbstractContextManager["ByteSource"]):
    """A path, "-" (standard input) or an open binary stream, read once from where it stands.

    `compression` is known once reading has begun; `bytes_read` counts the bytes taken from the file, still compressed.
    A path is opened (UserError) here and closed here; a stream that was handed in stays open.
    """

    def __init__(
        self,
        source: Path | str | BinaryIO,
        max_expansion: float = MAX_EXPANSION,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.name = source_name(source)
        self.compression: str | None = None
        self.bytes_read = 0
        self._max_expansion = max_expansion
        self.block_bytes = block_bytes
        self._owned = isinstance(source, str | Path) and str(source) != "-"
        if not isinstance(source, str | Path):
            self._file: BinaryIO = source
        else:
            self._file = _open(source) if self._owned else _standard_input()
        # A pipe's read1 hands over what is there instead of waiting for a full block.
        self._read: Callable[[int], bytes | None] = getattr(self._file, "read1", self._file.read)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owned:
            self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """Yield the decompressed bytes, never an empty block; InputError where they cannot be read on."""
        head = self._take(MAGIC_BYTES)
        self.compression = compression_of(head)
        if self.compression is not None:
            yield from self._decompressed(head, self.compression)
            return
        if head:
            yield head
        while block := self._raw(self.block_bytes):
            yield block

    def _raw(self, num_bytes: int) -> bytes:
        try:
            block = self._read(num_bytes)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"reading failed ({printable(reason)}); check the disk, or copy the file again"
            raise InputError(self.name, problem) from None
        if block is None:
            raise InputError(self.name, "the stream has no data yet; open it in blocking mode")
        assert isinstance(block, bytes), "a FASTA stream must be opened in binary mode"
        self.bytes_read += len(block)
        return block

    def _take(self, num_bytes: int) -> bytes:
        """Read at least `num_bytes`, fewer only at the end."""
        taken = b""
        while len(taken) < num_bytes and (block := self._raw(READ_BYTES)):
            taken += block
        return taken

    def _decompressed(self, data: bytes, compression: str) -> Iterator[bytes]:
        num_out = 0
        decoder = _DECODERS[compression]()
        while True:
            output = self._decode(decoder, data, compression)
            num_out += len(output)
            if num_out > FREE_BYTES and num_out > self._max_expansion * self.bytes_read:
                raise InputError(self.name, self._bomb(compression))
            if output:
                yield output
            data = b""
            if decoder.eof:
                data = self._next_stream(decoder.unused_data, compression)
                if not data:
                    return
                decoder = _DECODERS[compression]()
            elif decoder.needs_input:
                data = self._raw(READ_BYTES)
                if not data:
                    problem = (
                        f"the {compression} data ends too early; the file was cut short: download or copy it again"
                    )
                    raise InputError(self.name, problem)

    def _decode(self, decoder: Decoder, data: bytes, compression: str) -> bytes:
        try:
            return decoder.decompress(data, self.block_bytes)
        except _DECODER_ERRORS as error:
            if "emory" in str(error):  # a window beyond DECODER_BYTES: "Memory usage limit", "too much memory"
                limit = DECODER_BYTES >> 20
                problem = f"the {compression} data needs over {limit} MiB to unpack; compress it with a smaller window"
            else:
                problem = f"the {compression} data is damaged ({printable(str(error))}); download or copy it again"
            raise InputError(self.name, problem) from None

    def _next_stream(self, data: bytes, compression: str) -> bytes:
        """Return the first bytes of the stream that follows, b"" at the end of the file; anything else is a fault."""
        while True:
            if compression in ("gz", "xz"):
                data = data.lstrip(b"\0")  # both allow a padding of zeros
            if len(data) >= MAGIC_BYTES:
                break
            more = self._raw(READ_BYTES)
            if not more:
                break
            data += more
        if data and compression_of(data) != compression:
            place = f"byte {self.bytes_read - len(data) + 1:,} of the file"
            problem = f"other bytes follow the {compression} data at {place}; unpack and check it, or download it again"
            raise InputError(self.name, problem)
        return data

    def _bomb(self, compression: str) -> str:
        return (
            f"the {compression} data expands more than {self._max_expansion:g} times, as decompression bombs do; "
            "if you trust the file, raise the expansion limit (max_expansion)"
        )


def source_name(source: Path | str | BinaryIO) -> str:
    """Name a source for messages, on one line."""
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else printable(str(source), 300)
    name = getattr(source, "name", None)
    return printable(name, 300) if isinstance(name, str) else "the stream"


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UserError("standard input: there is none; name a FASTA file")
    return sys.stdin.buffer
