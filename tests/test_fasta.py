"""What a good FASTA file may look like: however it is wrapped, compressed or handed over, the same records come out."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadCounts, ReadOptions, Record

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQ", "ACDEFGHIKL", "W"]
NAMES = [("sp|P0A7Y4|RNH_ECOLI", "Ribonuclease HI OS=E. coli"), ("b", ""), ("b", "again, with a tab\tinside")]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def fasta(width: int = 60, line_end: str = "\n") -> bytes:
    lines = []
    for (name, description), sequence in zip(NAMES, SEQUENCES, strict=True):
        lines.append(f">{name} {description}".rstrip())
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
    return (line_end.join(lines) + line_end).encode()


def any_sequence(draw: random.Random) -> bytes:
    return "".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=80)).encode()


def read(data: bytes, options: ReadOptions | None = None, block_bytes: int = 1 << 18) -> list[Record]:
    return list(FastaReader(io.BytesIO(data), options, block_bytes=block_bytes))


def contents(records: list[Record]) -> list[tuple[str, str, str]]:
    return [(record.id, record.description, record.sequence) for record in records]


EXPECTED = [(*names, sequence) for names, sequence in zip(NAMES, SEQUENCES, strict=True)]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "old Mac CR"])
@pytest.mark.parametrize("width", [1, 7, 60, 80, 10_000])
def test_wrapping_line_ends_and_compression_change_nothing(width: int, line_end: str, compression: str) -> None:
    assert contents(read(COMPRESS[compression](fasta(width, line_end)))) == EXPECTED


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "old Mac CR"])
def test_the_size_of_the_blocks_read_changes_nothing(line_end: str) -> None:
    data = fasta(13, line_end) * 20
    whole = read(data)
    assert contents(whole) == EXPECTED * 20
    for block_bytes in range(1, 40):
        assert read(data, block_bytes=block_bytes) == whole


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_stream_that_drips_is_read_as_one_that_flows(compression: str) -> None:
    class Dripping(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(1)

    data = COMPRESS[compression](fasta(7)) * 3
    for block_bytes in (1, 2, 3, 1 << 18):
        assert contents(list(FastaReader(Dripping(data), block_bytes=block_bytes))) == EXPECTED * 3


def test_records_that_each_fill_a_block_do_not_pile_up() -> None:
    options = ReadOptions(max_residues=4)
    reader = FastaReader(io.BytesIO(b">a\nMKTA\n" * 1000), options, block_bytes=8)
    assert [record.line for record in reader] == list(range(1, 2000, 2))


def test_half_a_windows_line_end_ends_the_last_line() -> None:
    for data in (b">a\r\nMK\r", b">a\nMK\r", b">a\rMK\r"):
        assert contents(read(data)) == [("a", "", "MK")]


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2", "zst"])
def test_members_streams_and_frames_are_read_one_after_the_other(compression: str) -> None:
    compress, data = COMPRESS[compression], fasta(60)
    parts = [data[i : i + 11] for i in range(0, len(data), 11)]
    assert contents(read(b"".join(map(compress, parts)))) == EXPECTED
    # An empty one, as bgzip writes at the end, adds nothing.
    assert contents(read(compress(b"") + compress(data) + compress(b""))) == EXPECTED


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_zeros_that_pad_a_compressed_file_are_no_garbage(compression: str) -> None:
    data = COMPRESS[compression](fasta())
    assert contents(read(data + bytes(40_000))) == EXPECTED
    assert contents(read(data + bytes(8) + data)) == EXPECTED * 2


def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert contents(read(skippable + COMPRESS["zst"](fasta()) + skippable)) == EXPECTED


@pytest.mark.parametrize("compression", COMPRESS)
def test_the_name_of_a_file_says_nothing_about_its_compression(compression: str, tmp_path: Path) -> None:
    for suffix in (".fasta", ".gz", ".xz", ".bz2", ".zst", ".pdf", ""):
        path = tmp_path / f"proteins{suffix}"
        path.write_bytes(COMPRESS[compression](fasta()))
        assert contents(list(FastaReader(path))) == EXPECTED


@pytest.mark.parametrize("compression", COMPRESS)
def test_standard_input_is_read_plain_or_compressed(compression: str) -> None:
    code = (
        "import json, dataclasses\nfrom openankh.fasta import FastaReader\n"
        "print(json.dumps([[r.id, r.description, r.sequence] for r in FastaReader('-')]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        input=COMPRESS[compression](fasta()),
        capture_output=True,
        check=True,
        env=environment,
    )
    assert json.loads(answer.stdout) == [list(record) for record in EXPECTED]


def test_records_come_before_a_pipe_ends() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as target:
        target.write(fasta() * 20)
        records = iter(FastaReader(source))
        assert next(records).id == NAMES[0][0]


def test_a_record_tells_the_line_of_its_header() -> None:
    assert [record.line for record in read(b"\n\n>a\nM\nK\n\n>b\nM\n>c\nM")] == [3, 7, 9]
    assert [record.line for record in read(b"\r\r>a\rM\rK\r\r>b\rM\r>c\rM")] == [3, 7, 9]


def test_blank_lines_and_white_space_at_line_ends_are_not_residues() -> None:
    assert [record.sequence for record in read(b"\n \n>a\n\nMK \n\t\n TA\t\n\n>b\n\nM\n  \n")] == ["MKTA", "M"]


def test_a_utf8_byte_order_mark_loses_no_record() -> None:
    assert contents(read(b"\xef\xbb\xbf" + fasta())) == EXPECTED
    assert contents(read(gzip.compress(b"\xef\xbb\xbf" + fasta()))) == EXPECTED


def test_ids_are_data_and_come_back_exactly() -> None:
    ids = [
        "a",
        "A",
        "a",
        "../../etc/passwd",
        "/",
        ".",
        "..",
        "nul\x00byte",
        "🧬",
        "é",
        "x" * 10_000,
        "=cmd|'/C'!A0",
    ]
    ids += ["\x1b[31mred\x1b[0m", "C:\\con", "%2e%2e", ">", ">>b", "@q", ";c", "a,b", '"', "\x01", "a\u2028b"]
    text = "".join(f">{name}\nMK\n" for name in ids)
    assert [record.id for record in read(text.encode())] == ids


def test_a_hundred_thousand_awkward_ids_keep_their_order() -> None:
    awkward = ["dup", "DUP", "a/b", "..", "n\x00l", "🧬", "y" * 300]
    ids = [awkward[i % 7] if i % 3 else f"id{i}" for i in range(100_000)]
    data = "".join(f">{name} d{i}\nMKT\n" for i, name in enumerate(ids)).encode()
    records = read(data)
    assert [record.id for record in records] == ids
    assert [record.description for record in records] == [f"d{i}" for i in range(100_000)]


def test_header_bytes_that_are_not_utf8_are_kept() -> None:
    (record,) = read(">caf\xe9 M\xfcller\nMK\n".encode("latin-1"))
    assert record.id.encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert record.description.encode("utf-8", "surrogateescape") == b"M\xfcller"


def test_id_and_description_part_at_the_first_space_or_tab() -> None:
    headers = {
        "a": ("a", ""),
        "a b c": ("a", "b c"),
        "a\tb c": ("a", "b c"),
        "a  b\tc": ("a", "b\tc"),
        " a b ": ("a", "b"),
        "a\u00a0b c": ("a\u00a0b", "c"),
    }
    data = "".join(f">{header}\nM\n" for header in headers)
    assert [(record.id, record.description) for record in read(data.encode())] == list(headers.values())


def test_lower_case_becomes_capitals_and_is_counted() -> None:
    reader = FastaReader(io.BytesIO(b">a\nMktA\n>b\nMK\n>c\nmk\n"))
    assert [record.sequence for record in reader] == ["MKTA", "MK", "MK"]
    assert reader.counts == ReadCounts(records=3, residues=8, upper_cased=4)


def test_a_final_stop_is_dropped_and_counted() -> None:
    reader = FastaReader(io.BytesIO(b">a\nMK*\n>b\nMK\n*\n>c\nMK * \n".replace(b" * ", b"* ")))
    assert [record.sequence for record in reader] == ["MK", "MK", "MK"]
    assert reader.counts == ReadCounts(records=3, residues=6, stops_dropped=3)


def test_unknown_letters_become_x_when_asked_and_are_counted() -> None:
    options = ReadOptions(letters="ACDEFGHIKLMNPQRSTVWYX", unknown="x")
    reader = FastaReader(io.BytesIO(b">a\nMJbX\n"), options)
    assert [record.sequence for record in reader] == ["MXXX"]
    assert reader.counts == ReadCounts(records=1, residues=4, upper_cased=1, unknown_replaced=2)


def test_every_letter_may_be_a_residue() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert read(f">a\n{letters}\n".encode(), ReadOptions(letters=letters))[0].sequence == letters


def test_a_path_can_be_read_again_and_counts_start_anew(tmp_path: Path) -> None:
    path = tmp_path / "proteins.fasta"
    path.write_bytes(fasta())
    reader = FastaReader(path)
    assert list(reader) == list(reader)
    assert reader.counts.records == 3


def test_a_stream_can_be_read_once() -> None:
    reader = FastaReader(io.BytesIO(fasta()))
    assert len(list(reader)) == 3
    with pytest.raises(UserError, match="read only once"):
        list(reader)


def test_a_reader_left_early_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "proteins.fasta"
    path.write_bytes(fasta() * 1000)
    with FastaReader(path) as reader:
        records = iter(reader)
        assert next(records).id == NAMES[0][0]
    assert list(records) == []
    del records, reader  # an open file would warn here, and warnings are errors


def test_a_stream_that_was_handed_in_stays_open() -> None:
    stream = io.BytesIO(fasta())
    with FastaReader(stream) as reader:
        assert len(list(reader)) == 3
    assert not stream.closed


@pytest.mark.parametrize("compression", COMPRESS)
def test_bytes_read_grows_to_the_size_of_the_compressed_file(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "proteins"
    draw = random.Random(0)
    path.write_bytes(COMPRESS[compression](b"".join(b">%d\n%s\n" % (i, any_sequence(draw)) for i in range(2000))))
    reader = FastaReader(path)
    assert reader.bytes_read == 0
    progress = [reader.bytes_read for _ in reader]
    assert progress == sorted(progress)
    assert reader.bytes_read == path.stat().st_size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\nfrom openankh.fasta import FastaReader\n"
        "num = sum(1 for record in FastaReader(sys.argv[1]))\n"
        "status = pathlib.Path('/proc/self/status').read_text().split()\n"
        "print(num, int(status[status.index('VmHWM:') + 1]) // 1024)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    used = []
    for num_copies in (50, 2_000):
        path = tmp_path / f"{num_copies}.fasta.gz"
        path.write_bytes(gzip.compress(fasta() * 50, 1) * num_copies)
        answer = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True, env=environment)
        num_records, mebibytes = map(int, answer.stdout.split())
        assert num_records == 150 * num_copies
        used.append(mebibytes)
    assert used[1] < used[0] + 8


def test_the_real_pretraining_file_is_read_whole(shared_data: Path) -> None:
    reader = FastaReader(shared_data / "pretrain" / "valid.fasta.xz", ReadOptions(letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    num_residues = sum(len(record.sequence) for record in reader)
    assert reader.counts.records == 3000
    assert reader.counts.residues == num_residues
    assert 1_065_000 < num_residues < 1_075_000  # 1.07 M in the data's own table
