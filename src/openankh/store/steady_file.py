"""A file for a library that cannot bear a failing write: it is told that all is well, its caller what is not."""

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class SteadyFile(io.RawIOBase):
    """A file that never tells its writer of a failure: libhdf5 crashes the process when a disk runs full under it.

    From the first failure on what is written stays in memory, where it is also read from; `raise_failure` tells.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = 0
        self._failure: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []

    def raise_failure(self) -> None:
        """Raise the error of the first write that failed, if one did."""
        if self._failure is not None:
            raise self._failure

    def write(self, content: "ReadableBuffer", /) -> int:
        """Take all bytes, whatever becomes of them."""
        rest = memoryview(content).cast("B")
        num_bytes = len(rest)
        try:
            self._file.seek(self._place)
            while rest and self._failure is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._failure = error
        if rest:
            self._unwritten.append((self._place + num_bytes - len(rest), bytes(rest)))
        self._place += num_bytes
        return num_bytes

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer with what was written, zeros elsewhere."""
        wanted = memoryview(buffer).cast("B")
        self._file.seek(self._place)
        found = self._file.read(len(wanted))
        wanted[:] = found + bytes(len(wanted) - len(found))
        for start, content in self._unwritten:
            first, last = max(start, self._place), min(start + len(content), self._place + len(wanted))
            if first < last:
                wanted[first - self._place : last - self._place] = content[first - start : last - start]
        self._place += len(wanted)
        return len(wanted)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        if whence == io.SEEK_END:
            offset += max(self._file.seek(0, io.SEEK_END), *(start + len(part) for start, part in self._unwritten), 0)
        self._place = offset + (self._place if whence == io.SEEK_CUR else 0)
        return self._place

    def truncate(self, size: int | None = None, /) -> int:
        """Make the file of this size."""
        size = self._place if size is None else size
        try:
            self._file.truncate(size)
        except OSError as error:
            self._failure = self._failure or error
        return size

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
