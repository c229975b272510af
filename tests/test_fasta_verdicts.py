"""Every kind of broken or mistaken file has a fixed verdict: one line with the file, the line and what to do."""

import bz2
import dataclasses
import gzip
import io
import lzma
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def read_until_refused(source: Path | str | BinaryIO, options: ReadOptions | None = None) -> tuple[list[str], str]:
    """The ids read before the refusal, and its message, which must be one printable line."""
    records: list[Record] = []
    with pytest.raises(UserError) as refusal, FastaReader(source, options) as reader:
        records.extend(reader)
        pytest.fail(f"read {len(records)} records and refused nothing")
    message = str(refusal.value)
    assert message.isprintable()
    assert ";" in message or "," in message
    return [record.id for record in records], message


def refusal(data: bytes, options: ReadOptions | None = None) -> str:
    """The message without the stream's name."""
    _, message = read_until_refused(io.BytesIO(data), options)
    assert message.startswith("the stream, ")
    return message.removeprefix("the stream, ")


# ------------------------------------------------------------------------------------------ files that cannot be opened


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _, message = read_until_refused(tmp_path / "nothing.fasta")
    assert message == f"{tmp_path}/nothing.fasta: no such file; check the path"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder; name one FASTA file in it" in read_until_refused(tmp_path)[1]


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> BinaryIO:
        raise PermissionError(13, "Permission denied")  # the tests may run as root, whom nothing refuses

    monkeypatch.setattr("openankh.decompression.open", refuse, raising=False)
    with pytest.raises(UserError, match=r"locked\.fasta: not readable by you; change its permissions"):
        list(FastaReader(tmp_path / "locked.fasta"))


def test_a_path_that_no_system_allows_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in read_until_refused(f"{tmp_path}/a\0b")[1]
    assert "cannot be opened" in read_until_refused(f"{tmp_path}/{'x' * 5000}")[1]


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines\x1b[31m.fasta"
    path.write_bytes(b"MKT\n")
    assert "two\\nlines\\x1b[31m.fasta, line 1: " in read_until_refused(path)[1]


def test_a_failing_disk_is_reported_with_the_line_reached() -> None:
    class Failing(io.RawIOBase):
        blocks = iter([b">a\nMK\n" * 300])

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            for block in self.blocks:
                return block
            raise OSError(5, "Input/output error")

    ids, message = read_until_refused(Failing())  # type: ignore[arg-type]
    assert len(ids) == 299
    assert message.startswith("the stream, line 601: reading failed (Input/output error)")


def test_standard_input_that_does_not_exist_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input: there is none" in read_until_refused("-")[1]


def test_a_stream_without_data_yet_is_reported() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(writing, "wb"), open(reading, "rb", buffering=0) as source:
        assert "open it in blocking mode" in read_until_refused(source)[1]


# -------------------------------------------------------------------------------------------------- empty and foreign


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"\n", 2),
        (b" \n\t\r\n  ", 3),
        (b"\xef\xbb\xbf", 1),
        (gzip.compress(b"", mtime=0), 1),
        (lzma.compress(b"\n"), 2),
    ],
)
def test_a_file_without_records_is_refused(data: bytes, line: int) -> None:
    assert refusal(data).startswith(f"line {line}: the file holds no records")


UTF16 = ">a\nMKT\n>b\nMKT\n"
FOREIGN = {
    "a sequence without header": (b"MKTAYIAK\n", 1, "the first line is not a header"),
    "a sequence before the first header": (b"\n\nMKTAYIAK\n>a\nMK\n", 3, "the first line is not a header"),
    "white space before the first header": (b"\n >a\nMK\n", 2, "white space before the first >"),
    "FASTQ": (b"@read1\nACGT\n+\nIIII\n", 1, "the file is FASTQ"),
    "FASTQ, one line": (b"@read1", 1, "starts like FASTQ"),
    "SAM": (b"@SQ\tSN:chr1\tLN:100\n", 1, "SAM"),
    "a web page": (b"<!DOCTYPE html>\n<html><head>\n", 1, "web page"),
    "a web page without doctype": (b"\n<HTML>\n", 2, "web page"),
    "XML": (b"<?xml version='1.0'?>\n<uniprot>\n", 1, "XML"),
    "GenBank": (b"LOCUS       AAA12345   120 aa\nDEFINITION  x\n", 1, "flat-file"),
    "UniProt text": (b"ID   RNH_ECOLI   Reviewed;  155 AA.\nAC   P0A7Y4;\n", 1, "flat-file"),
    "PDB": (b"HEADER    HYDROLASE   17-NOV-92   2RN2\n", 1, "PDB structure"),
    "PDB without header": (b"ATOM      1  N   MET A   1\n", 1, "PDB structure"),
    "mmCIF": (b"data_2RN2\n#\n_entry.id 2RN2\n", 1, "mmCIF"),
    "CSV": (b"id,sequence\na,MKT\n", 1, "CSV"),
    "CSV, quoted": (b'"id","sequence"\n"a","MKT"\n', 1, "CSV"),
    "TSV": (b"id\tsequence\na\tMKT\n", 1, "TSV"),
    "JSON": (b'{"id": "a"}', 1, "JSON"),
    "Clustal": (b"CLUSTAL W (1.83)\n\na  MKT\n", 1, "Clustal"),
    "Stockholm": (b"# STOCKHOLM 1.0\na MKT\n", 1, "Stockholm"),
    "PHYLIP": (b" 2 10\na MKT\n", 1, "PHYLIP"),
    "NEXUS": (b"#NEXUS\nbegin data;\n", 1, "NEXUS"),
    "GFF": (b"##gff-version 3\n", 1, "GFF"),
    "PIR": (b">P1;CRAB_ANAPL\nALPHA\nMDITIHNP*\n", 1, "PIR"),
    "comment lines": (b"; made by hand\n>a\nMK\n", 1, 'starts with a ";" comment'),
    "a binary file": (b"\x7fELF\x02\x01\x01\x00\x00", 1, "binary"),
    "a PNG picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", 1, "binary"),
    "zeros": (bytes(5000), 1, "binary"),
    "UTF-16 with byte order mark": (UTF16.encode("utf-16"), 1, "UTF-16"),
    "UTF-16 little endian": (UTF16.encode("utf-16-le"), 1, "UTF-16"),
    "UTF-16 big endian": (UTF16.encode("utf-16-be"), 1, "UTF-16"),
    "zip": (b"PK\x03\x04\x14\x00", 1, "zip archive"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\x00", 1, "7-Zip"),
    "lz4": (b"\x04\x22\x4d\x18\x64", 1, "lz4"),
    "compress": (b"\x1f\x9d\x90MKT", 1, "compress (.Z)"),
    "lzma alone": (lzma.compress(b">a\nMK\n", format=lzma.FORMAT_ALONE), 1, "lzma"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", 1, "HDF5"),
    "Parquet": (b"PAR1\x15\x04", 1, "Parquet"),
    "PDF": (b"%PDF-1.7\n", 1, "PDF"),
    "tar": (b"a.fasta".ljust(257, b"\0") + b"ustar\x0000", 1, "tar archive"),
    "tar in gz": (gzip.compress(b"a.fasta".ljust(257, b"\0") + b"ustar\x0000"), 1, "tar archive"),
    "gz in gz": (gzip.compress(gzip.compress(b">a\nMK\n")), 1, "compressed twice"),
    "the beginning of a gz magic": (b"\x1f", 1, "binary"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_not_fasta_is_named_for_what_it_is(kind: str) -> None:
    data, line, words = FOREIGN[kind]
    message = refusal(data)
    assert message.startswith(f"line {line}: ")
    assert words in message


def test_a_foreign_beginning_after_many_blank_lines_is_still_named() -> None:
    assert refusal(b"\n" * 3000 + b"LOCUS       A\n").startswith("line 3001: the file is a flat-file entry")
    assert refusal(b"\n" * 3000 + b" >a\nMK\n").startswith("line 3001: there is white space before the first >")


# ------------------------------------------------------------------------------------------------ inside the records

GOOD = b">first of all\nMKTA\n"
BROKEN = {
    "an empty header": (b">\nMK\n", "line 3: the header is empty"),
    "a header of white space": (b"> \t\nMK\n", "line 3: the header is empty"),
    "an empty sequence": (b">a b\n>c\nMK\n", "line 3: record 'a' has no sequence"),
    "an empty last sequence": (b">a", "line 3: record 'a' has no sequence"),
    "a sequence of blank lines": (b">a\n\n  \n", "line 3: record 'a' has no sequence"),
    "a sequence of a stop": (b">a\n*\n", "line 3: record 'a' has no sequence"),
    "NUL in a sequence": (b">a\nMK\0TA\n", "line 4, column 3: record 'a': '\\x00' is no residue; a NUL byte"),
    "a digit": (b">a\nMK\n  1 MK\n", "line 5, column 3: record 'a': '1' is no residue; digits"),
    "a gap": (b">a\nMK-T\n", "line 4, column 3: record 'a': '-' is no residue; gaps belong to alignments"),
    "a dotted gap": (b">a\n.MKT\n", "line 4, column 1: record 'a': '.' is no residue; gaps belong to alignments"),
    "a stop inside": (b">a\nMK\nT*A\n", "line 5, column 2: record 'a': '*' is no residue; a stop inside"),
    "two stops": (b">a\nMK**\n", "line 4, column 3: record 'a': '*' is no residue; a stop inside"),
    "a space inside": (b">a\nMK TA\n", "line 4, column 3: record 'a': ' ' is no residue; white space inside"),
    "a tab inside": (b">a\n MK\tTA\n", "line 4, column 4: record 'a': '\\t' is no residue; white space inside"),
    "a header inside a line": (
        b">a\nMK>b\nMK\n",
        "line 4, column 3: record 'a': '>' is no residue; a header must start",
    ),
    "an indented header": (b">a\nMK\n >b\nMK\n", "line 5, column 2: record 'a': '>' is no residue; white space stands"),
    "a comment line": (b">a\n;note\nMK\n", "line 4, column 1: record 'a': ';' is no residue; comment lines"),
    "FASTQ after FASTA": (
        b">a\nMK\n@b\nACGT\n+\n>III\n",
        "line 5, column 1: record 'a': '@' is no residue; the line looks",
    ),
    "a FASTQ record": (
        b">a\nACGT\n+\nIIII\n",
        "line 5, column 1: record 'a': '+' is no residue; the line looks like FASTQ",
    ),
    "an unknown letter": (
        b">a\nMJK\n",
        "line 4, column 2: record 'a': 'J' is no residue; known letters are ACDEFGHIKLM",
    ),
    "a byte order mark between files": (
        b">a\nMK\n\xef\xbb\xbf>b\nMK\n",
        "line 5, column 1: record 'a': '\\ufeff' is no",
    ),
    "a letter with an accent": (">a\nMKé\n".encode(), "line 4, column 3: record 'a': 'é' is no residue"),
    "a Latin-1 letter": (b">a\nMK\xe9A\n", "line 4, column 3: record 'a': the byte 0xe9 is no residue"),
    "a control character": (b">a\nMK\x1a\n", "line 4, column 3: record 'a': '\\x1a' is no residue"),
    "a lone CR in a Unix file": (b">a\nMK\rTA\n", "line 4: line ends of two kinds"),
    "a doubled CR": (b">a\r\nMK\r\r\nTA\r\n", "line 4: line ends of two kinds"),
    "a header with an escape sequence": (b">\x1b[31m\nM7\n", "line 4, column 2: record '\\x1b[31m': '7' is no residue"),
    "a long id": (b">" + b"x" * 500 + b"\nM7\n", "line 4, column 2: record '" + "x" * 77 + "...': '7' is no residue"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_refused_at_its_place(kind: str) -> None:
    data, expected = BROKEN[kind]
    ids, message = read_until_refused(io.BytesIO(GOOD + data))
    assert message.startswith("the stream, " + expected)
    assert ids[:1] == ["first"]


def test_an_lf_in_an_old_mac_file_is_refused() -> None:
    assert refusal(b">a\rMK\r>b\rMK\nTA\r").startswith("line 4: line ends of two kinds")


def test_lower_case_is_refused_when_asked() -> None:
    message = refusal(b">a\nMKt\n", ReadOptions(case="error"))
    assert message.startswith("line 2, column 3: record 'a': 't' is no residue; lower case is refused here")


def test_only_letters_become_x() -> None:
    for byte in b"-.*1 \t\0>@?":
        assert "line 2, column 2" in refusal(b">a\nM" + bytes([byte]) + b"K\n", ReadOptions(unknown="x"))


def test_the_first_of_several_faults_is_reported() -> None:
    assert refusal(b">a\nM-K\nM7\n>\n>b\n").startswith("line 2, column 2: ")


# ------------------------------------------------------------------------------------------------------------- limits


def test_a_sequence_over_the_limit_is_refused_wherever_it_ends() -> None:
    options = ReadOptions(max_residues=100)
    for data in (b"M" * 101, b"M\n" * 101, b"M" * 101 + b"*", b"M" * 5000, b" M \n" * 200):
        for following in (b"", b"\n>b\nMK\n"):
            message = refusal(b">a\n" + data + following, options)
            assert message.startswith("line 1: record 'a' is longer than 100 residues")
            assert "max_residues" in message
    assert len(list(FastaReader(io.BytesIO(b">a\n" + b"M" * 100 + b"*\n"), options))) == 1


def test_a_long_record_that_is_no_sequence_is_called_by_its_first_odd_character() -> None:
    message = refusal(b">a\n" + b"0123456789" * 50, ReadOptions(max_residues=100))
    assert message.startswith("line 2, column 1: record 'a': '0' is no residue")


def test_a_header_over_the_limit_is_refused_before_its_end() -> None:
    for end in (b"", b"\nMK\n", b"\nMK\n>b\nMK\n"):
        assert refusal(b">" + b"x" * (1 << 20) + b"y" + end).startswith("line 1: the header is longer than 1,048,576")
    options = ReadOptions(max_header_bytes=10)
    assert len(list(FastaReader(io.BytesIO(b">" + b"x" * 10 + b"\nMK\n"), options))) == 1
    assert "header is longer than 10 bytes" in refusal(b">" + b"x" * 11 + b"\nMK\n", options)


def test_endless_blank_lines_in_a_record_are_refused() -> None:
    options = ReadOptions(max_residues=10, max_header_bytes=10)
    assert "more blank space than sequence" in refusal(b">a\nMK\n" + b"\n" * 100_000, options)
    assert "more blank space than sequence" in refusal(b">a\nMK\n" + b" " * 100_000 + b"\n>b\nMK\n", options)


def test_a_limit_below_one_is_refused() -> None:
    for limits in ({"max_residues": 0}, {"max_expansion": 0.5}, {"max_expansion": math.nan}, {"max_header_bytes": -1}):
        with pytest.raises(UserError, match="it must be at least 1"):
            dataclasses.replace(ReadOptions(), **limits)


# ------------------------------------------------------------------------------------------------- damaged compression

TEXT = b"".join(b">protein%d\n%s\n" % (i, b"MKTAYIAKQRACDEFGHIKL"[i % 17 :] * (i % 5 + 1)) for i in range(60))
ALL_IDS = [f"protein{i}" for i in range(60)]


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_compressed_file_cut_anywhere_is_never_read_in_silence(compression: str) -> None:
    data = COMPRESS[compression](TEXT)
    for length in range(6, len(data)):
        ids, message = read_until_refused(io.BytesIO(data[:length]))
        assert f"the {compression} data ends too early; the file was cut short: download or copy it again" in message
        assert ids == ALL_IDS[: len(ids)]


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_flipped_bit_is_found_or_means_nothing(compression: str) -> None:
    data = COMPRESS[compression](TEXT)
    num_found = 0
    for place in range(6, len(data)):
        flipped = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        try:
            ids = [record.id for record in FastaReader(io.BytesIO(flipped))]
        except UserError:
            num_found += 1
        else:
            assert ids == ALL_IDS
    assert num_found > 0.9 * (len(data) - 6)


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("garbage", [b"x", b"\n", b">b\nMK\n", b"x" * 50_000])
def test_other_bytes_after_compressed_data_are_refused(compression: str, garbage: bytes) -> None:
    data = COMPRESS[compression](TEXT)
    ids, message = read_until_refused(io.BytesIO(data + garbage))
    assert f"other bytes follow the {compression} data at byte {len(data) + 1:,} of the file" in message
    assert ids == ALL_IDS[:-1]  # nothing shows that the last one is whole


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_second_compressed_part_that_is_cut_is_refused(compression: str) -> None:
    data = COMPRESS[compression](TEXT)
    assert "ends too early" in read_until_refused(io.BytesIO(data + data[:7]))[1]
    assert "ends too early" in read_until_refused(io.BytesIO(data + data[:-1]))[1]


def test_a_cut_file_names_the_line_reached(tmp_path: Path) -> None:
    path = tmp_path / "cut.fasta.gz"
    path.write_bytes(gzip.compress(TEXT)[:-4])
    ids, message = read_until_refused(path)
    assert message.startswith(f"{path}, line 121: the gz data ends too early")
    assert ids == ALL_IDS[:-1]


def test_a_decompressing_stream_that_fails_is_reported() -> None:
    with gzip.open(io.BytesIO(gzip.compress(TEXT)[:-9])) as stream:
        assert "reading failed" in read_until_refused(stream)[1]  # type: ignore[arg-type]
