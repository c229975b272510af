"""Small files that unpack to gigabytes are refused early and in little memory; the limits can be raised."""

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from openankh.fasta import FastaReader, ReadOptions

GIB = 1 << 30
RSS_LIMIT_MIB = 256
"""Peak resident memory, from Linux's /proc."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
READ = """
import dataclasses, json, pathlib, sys, time
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions
reader = FastaReader(sys.argv[1], ReadOptions(**json.loads(sys.argv[2])))
start, message = time.process_time(), ""
try:
    for record in reader:
        pass
except UserError as error:
    message = str(error)
status = pathlib.Path("/proc/self/status").read_text().split()
print(json.dumps({
    "message": message,
    "counts": dataclasses.asdict(reader.counts),
    "bytes_read": reader.bytes_read,
    "seconds": time.process_time() - start,
    "rss_mib": int(status[status.index("VmHWM:") + 1]) / 1024,
}))
"""


def gz_bomb(start: bytes, filling: bytes, num_bytes: int) -> bytes:
    """One gzip member: the same flushed deflate blocks again and again."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = deflate.compress(start) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = filling * ((1 << 20) // len(filling))
    repeated = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + first + repeated * (num_bytes // len(block)) + deflate.flush() + bytes(8)


def xz_bomb(start: bytes, filling: bytes, num_bytes: int) -> bytes:
    block = filling * ((1 << 24) // len(filling))
    return lzma.compress(start) + lzma.compress(block, preset=0) * (num_bytes // len(block))


def bz2_bomb(start: bytes, filling: bytes, num_bytes: int) -> bytes:
    block = filling * ((1 << 20) // len(filling))
    return bz2.compress(start) + bz2.compress(block) * (num_bytes // len(block))


def zst_bomb(start: bytes, filling: bytes, num_bytes: int) -> bytes:
    if len(filling) == 1:  # one frame of run-length blocks: 128 KiB from 4 bytes
        raw = struct.pack("<I", len(start) << 3)[:3] + start
        run = struct.pack("<I", (1 << 17) << 3 | 1 << 1)[:3] + filling
        return b"\x28\xb5\x2f\xfd\x00\x50" + raw + run * (num_bytes >> 17)
    compress = zstandard.ZstdCompressor(level=3).compress
    block = filling * ((1 << 24) // len(filling))
    return compress(start) + compress(block) * (num_bytes // len(block))


BOMBS: dict[str, Callable[[bytes, bytes, int], bytes]] = {
    "gz": gz_bomb,
    "xz": xz_bomb,
    "bz2": bz2_bomb,
    "zst": zst_bomb,
}
EXPANSION = "data expands more than 250 times"
FILLINGS = {
    "one endless sequence": (b">bomb\n", b"A", "line 1: record 'bomb' is longer than 1,000,000 residues"),
    "endless records": (b">bomb\n", b"MKTAYIAKQR\n>b\n", EXPANSION),
    "endless tiny records": (b">bomb\n", b"M\n>\x01\n", EXPANSION),
    "an endless header": (b">bomb", b"x", "line 1: the header is longer than 1,048,576 bytes"),
    "endless blank lines": (b">bomb\nMK", b"\n", EXPANSION),
    "nothing but blank lines": (b"\n", b"\n", EXPANSION),
    "endless white space": (b">bomb\nMK", b" ", EXPANSION),
    "endless binary": (b">bomb\n", b"\x00", "line 2, column 1: record 'bomb': '\\x00' is no residue"),
}


def read_in_own_process(path: Path, **options: float) -> dict:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", READ, str(path), json.dumps(options)]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
    if "OPENANKH_SHOW" in os.environ:
        print(f"\n{path.name}: {path.stat().st_size:,} bytes: {answer}")
    return answer


@needs_proc
@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("compression", BOMBS)
def test_a_bomb_of_six_gigabytes_is_refused_early(compression: str, filling: str, tmp_path: Path) -> None:
    path = tmp_path / f"bomb.fasta.{compression}"
    start, repeated, expected = FILLINGS[filling]
    path.write_bytes(BOMBS[compression](start, repeated, 6 * GIB))
    answer = read_in_own_process(path)
    # zstd gives so much at once that its expansion is seen before what it holds.
    assert expected in answer["message"] or (compression == "zst" and EXPANSION in answer["message"])
    assert answer["bytes_read"] <= 1 << 17
    assert answer["rss_mib"] < RSS_LIMIT_MIB


def test_the_limits_can_be_raised() -> None:
    record = b">a\n" + b"A" * (5 << 20) + b"\n"
    data = gzip.compress(record * 4)
    for too_low in (ReadOptions(max_residues=10 << 20), ReadOptions(max_expansion=2000)):
        with pytest.raises(ValueError, match="max_"):
            list(FastaReader(io.BytesIO(data), too_low))
    options = ReadOptions(max_residues=10 << 20, max_expansion=2000)
    assert [len(record.sequence) for record in FastaReader(io.BytesIO(data), options)] == [5 << 20] * 4


def test_small_files_may_expand_as_they_like() -> None:
    record = b">a\n" + b"A" * 1000 + b"\n"
    data = lzma.compress(record * 4000)
    assert len(data) * 250 < len(record) * 4000
    assert sum(1 for _ in FastaReader(io.BytesIO(data))) == 4000


@needs_proc
def test_twenty_million_residues_are_streamed_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.fasta"
    path.write_bytes(
        b">huge\n" + b"ACDEFGHIKLMNPQRSTVWYACDEFGHIKLMNPQRSTVWYACDEFGHIKLMNPQRSTVWY\n" * (20_000_000 // 60)
    )
    answer = read_in_own_process(path)
    assert "line 1: record 'huge' is longer than 1,000,000 residues" in answer["message"]
    assert answer["bytes_read"] < 2 << 20
    answer = read_in_own_process(path, max_residues=20_000_000)
    assert answer["counts"]["residues"] == 20_000_000 // 60 * 60
    assert answer["rss_mib"] < RSS_LIMIT_MIB


def test_an_xz_window_beyond_the_memory_allowed_is_refused() -> None:
    data = bytearray(lzma.compress(b">a\nMK\n"))
    block, size = 12, (data[12] + 1) * 4
    assert data[block + 2 : block + 4] == b"\x21\x01"  # the LZMA2 filter and its one property, the window
    data[block + 4] = 38  # 3 GiB
    data[block + size - 4 : block + size] = struct.pack("<I", zlib.crc32(data[block : block + size - 4]))
    with pytest.raises(ValueError, match="xz data needs over 160 MiB to unpack"):
        list(FastaReader(io.BytesIO(data)))


def test_a_zstd_window_beyond_the_memory_allowed_is_refused() -> None:
    window = (31 - 10) << 3  # 2 GiB
    data = b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + struct.pack("<I", 6 << 3 | 1)[:3] + b">a\nMK\n"
    with pytest.raises(ValueError, match="zst data needs over 160 MiB to unpack"):
        list(FastaReader(io.BytesIO(data)))
