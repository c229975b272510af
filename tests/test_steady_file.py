"""A file for HDF5: what cannot be written is kept, read back and told; HDF5 itself never hears of it."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.store.steady_file import SteadyFile


class SmallDisk(io.RawIOBase):
    """A file in memory of a disk with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = io.BytesIO()

    def write(self, content: memoryview, /) -> int:  # type: ignore[override]
        fits = min(len(content), self.room - self.content.tell())
        if fits <= 0:
            raise OSError(28, "No space left on device")
        return self.content.write(content[:fits])

    def read(self, size: int = -1, /) -> bytes:
        return self.content.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.content.seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        return self.content.truncate(size)


steps = st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=20))


@given(st.integers(0, 80), st.lists(steps, max_size=12))
@settings(max_examples=300, deadline=None)
def test_what_was_written_is_read_back_however_little_room_there_is(room: int, writes: list[tuple[int, bytes]]) -> None:
    disk, expected = SteadyFile(SmallDisk(room)), io.BytesIO()  # type: ignore[arg-type]
    for place, content in writes:
        for file in (disk, expected):
            file.seek(place)
            assert file.write(content) == len(content)
    whole = expected.getvalue()
    assert disk.seek(0, io.SEEK_END) == len(whole)
    disk.seek(0)
    assert disk.read(len(whole)) == whole
    if len(whole) > room:
        with pytest.raises(OSError, match="No space left"):
            disk.raise_failure()
    else:
        disk.raise_failure()


def test_a_file_that_can_be_written_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        disk = SteadyFile(file)
        disk.write(b"abcdef")
        disk.seek(-2, io.SEEK_END)
        disk.write(b"xyz")
        disk.truncate(6)
        disk.raise_failure()
    assert (tmp_path / "file").read_bytes() == b"abcdxy"
