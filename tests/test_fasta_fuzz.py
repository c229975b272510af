"""Twenty thousand generated files, good and broken, read by FastaReader and by a slow reader written for these tests.

The slow reader goes byte by byte and shares no code with the package. For every file both must yield the same records
and counts, or the same records and then a refusal at the same line and column; nothing but UserError may be raised.
"""

import bz2
import gzip
import io
import lzma
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions

# ---------------------------------------------------------------------------------------------- the slow reader

CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PIR = [b"P1;", b"F1;", b"DL;", b"DC;", b"RL;", b"RC;", b"N1;", b"N3;", b"XX;"]


@dataclass
class Outcome:
    """What a reader made of a file: records as (id, description, sequence, line), counts, or a place of refusal."""

    records: list[tuple[str, str, str, int]] = field(default_factory=list)
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)
    refused_at: tuple[int, int | None] | None = None


def read_slowly(data: bytes, options: ReadOptions) -> Outcome:
    """Read a whole decompressed file, byte by byte."""
    if data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    lines, broken_at = split_lines(data)
    first = next((byte for byte in data if byte not in b" \t\r\n"), None)
    if first is not None and first != ord(">"):
        before = data[: data.index(bytes([first]))]
        return Outcome(refused_at=(1 + len(re.findall(b"\r\n|\r|\n", before)), None))
    if first is not None and (looks_like_utf16(data) or data.lstrip(b" \t\r\n")[1:4] in PIR):
        before = data[: data.index(b">")]
        return Outcome(refused_at=(1 + len(re.findall(b"\r\n|\r|\n", before)), None))
    return read_lines(lines, broken_at, options)


def looks_like_utf16(data: bytes) -> bool:
    """Every second byte of the first 64 is NUL and no other one is."""
    head = data.lstrip(b" \t\r\n")[:64]
    zeros = [byte == 0 for byte in head]
    return len(head) > 3 and (
        zeros == [i % 2 == 0 for i in range(len(head))] or zeros == [i % 2 == 1 for i in range(len(head))]
    )


def split_lines(data: bytes) -> tuple[list[bytes], int | None]:
    """Split into lines; where a line end is of the wrong kind, stop and name the line."""
    lines, line, old_mac, place = [], b"", None, 0
    while place < len(data):
        byte = data[place : place + 1]
        if byte not in (b"\r", b"\n"):
            line += byte
            place += 1
            continue
        crlf = data[place : place + 2] == b"\r\n"
        lone = byte == b"\r" and not crlf and place + 1 < len(data)
        if old_mac is None:
            old_mac = lone
        ends_file = byte == b"\r" and place + 1 == len(data)
        if not ends_file and (old_mac != lone):
            # In an old Mac file, the CR of a CRLF still ends a line; the LF is what does not belong.
            lines.append(line)
            return ([*lines, b""], len(lines) + 1) if old_mac and crlf else (lines, len(lines))
        lines.append(line)
        line = b""
        place += 2 if crlf else 1
    return [*lines, line], None


def read_lines(lines: list[bytes], broken_at: int | None, options: ReadOptions) -> Outcome:
    """Read records from lines; `broken_at` is the line where reading broke off."""
    outcome = Outcome()
    start = 0
    while start < len(lines) and not lines[start].strip(b" \t"):
        start += 1
    if start == len(lines):
        outcome.refused_at = (broken_at or len(lines), None)
        return outcome
    if not lines[start].startswith(b">"):
        outcome.refused_at = (start + 1, None)
        return outcome
    while start < len(lines):
        end = start + 1
        while end < len(lines) and not lines[end].startswith(b">"):
            end += 1
        unfinished = broken_at is not None and end == len(lines)
        refused_at = read_record(lines[start:end], start + 1, options, outcome, unfinished)
        if refused_at is not None or unfinished:
            outcome.refused_at = refused_at or (broken_at or 0, None)
            return outcome
        start = end
    return outcome


def read_record(
    lines: list[bytes], number: int, options: ReadOptions, outcome: Outcome, unfinished: bool
) -> tuple[int, int | None] | None:
    """Add the record to the outcome, or say where it is refused. An unfinished one is only judged by its size."""
    header = lines[0][1:]
    name, description = split_header(header)
    letters = [
        (byte, number + i, column + 1)
        for i, line in enumerate(lines)
        if i > 0
        for column, byte in enumerate(line)
        if len(line[: column + 1].strip(b" \t")) > 0 and len(line[column:].strip(b" \t")) > 0
    ]
    if len(header) > options.max_header_bytes:
        return number, None
    if not name and not unfinished:
        return number, None
    num_residues = sum(byte not in b" \t" for byte, _, _ in letters)
    stop = bool(letters) and letters[-1][0] == ord("*")
    if num_residues - (1 if unfinished else stop) > options.max_residues:
        body = b"\n".join(lines[1:])[: min(1024, options.max_residues)]
        return first_misfit(body, number, options) or (number, None)
    if unfinished:
        return None
    if stop:
        letters.pop()
    return read_letters(letters, (name, description), number, options, outcome, stop)


def read_letters(
    letters: list[tuple[int, int, int]],
    words: tuple[str, str],
    number: int,
    options: ReadOptions,
    outcome: Outcome,
    stop: bool,
) -> tuple[int, int | None] | None:
    """Turn letters with their places into a sequence, or say where one is refused."""
    sequence, upper_cased, replaced = "", 0, 0
    for byte, line, column in letters:
        letter = judged(byte, options)
        if letter is None:
            return line, column
        upper_cased += chr(byte).islower()
        replaced += letter != chr(byte).upper()
        sequence += letter
    if not sequence:
        return number, None
    outcome.records.append((*words, sequence, number))
    old = outcome.counts
    new = (1, len(sequence), upper_cased, int(stop), replaced)
    outcome.counts = tuple(a + b for a, b in zip(old, new, strict=True))
    return None


def judged(byte: int, options: ReadOptions) -> str | None:
    """The letter that stands for a byte, or None if it is refused."""
    letter = chr(byte)
    if byte not in CAPITALS + CAPITALS.lower() or (letter.islower() and options.case == "error"):
        return None
    if letter.upper() in options.letters:
        return letter.upper()
    return "X" if options.unknown == "x" else None


def first_misfit(body: bytes, number: int, options: ReadOptions) -> tuple[int, int | None] | None:
    """The place of the first refused byte of sequence lines."""
    for i, line in enumerate(body.split(b"\n")):
        for column, byte in enumerate(line):
            inside = line[: column + 1].strip(b" \t") and line[column:].strip(b" \t")
            if inside and judged(byte, options) is None:
                return number + 1 + i, column + 1
    return None


def split_header(header: bytes) -> tuple[str, str]:
    """Id and description: parted at the first run of spaces and tabs."""
    header = header.strip(b" \t")
    cut = min([place for place in (header.find(b" "), header.find(b"\t")) if place >= 0], default=len(header))
    decode = "surrogateescape"
    return header[:cut].decode("utf-8", decode), header[cut:].lstrip(b" \t").decode("utf-8", decode)


# ------------------------------------------------------------------------------------------------ the inputs

# A tilde parts the lines.
HEADERS = (
    b">sp|P00001|NAME description of it~>sp|P00002|NAME another~>sp|P00003|OTHER~>id4 source=x c50=s0~>id5~>id6~>a~>a"
    b"~> b  two  words ~>\tc\td e~>../../etc/passwd~>/~>x\x00y~>\xf0\x9f\xa7\xac gene~>caf\xe9 latin-1~>>double"
    b"~>A~>\xff\xfe~>=1+1~>\x1b[31mred~>P2;x~>" + b"n" * 200
).split(b"~")
SEQUENCES = (
    b"MKTAYIAKQR~ACDEFGHIKLMNPQRSTVWY~XBOUZ~M~mktay~MkTaY~PPPP~GPGP~VVV~MKT~NNN~CC~DDDD~ACDEFG ~\tACDEFG~MKV  ~QQ"
    b"~LLLLKKKK~EDEDEDED~MMM~MKT*~GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG~" + b"W" * 79
).split(b"~")
ODD_LINES = (
    b"~~ ~\t\t~*~**~M*K~MJK~mjk~JJJ~MK-T~M.K~--~1 MKT 10~MK7~MK T~>~> ~>\t~;comment~@read~+~IIII~MK>T~ >a~M\x00K~\x00"
    b"~MK\xc3\xa9~\xef\xbb\xbf>bom~\xef\xbb\xbf~<html>~LOCUS  X~a,b,c~\x1a~\x0c~\xe9~>P1;X~" + b"M" * 300
).split(b"~")
STARTS = [b""] * 60 + [
    b"\xef\xbb\xbf",
    b"\n",
    b"\n \n\n",
    b"MKT\n",
    b" ",
    b"\xff\xfe",
    b"@r\n",
    b"{",
    b"\r",
    b"\r\n\r\n",
]
LINE_ENDS = [b"\n"] * 6 + [b"\r\n"] * 3 + [b"\r"] * 2
INSERTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b">",
    b"\n>",
    b"\x00",
    b"7",
    b" ",
    b"*",
    b"-",
    b"j",
    b"\xc3",
    b"\t",
    b"M",
    b"\n\n",
    b"\r\r\n",
]
BLOCK_BYTES = [1 << 18, 1, 2, 3, 5, 16, 61, 1024]
OPTIONS = [ReadOptions()] * 4 + [
    ReadOptions(unknown="x"),
    ReadOptions(case="error"),
    ReadOptions(letters="ACDEFGHIKLMNPQRSTVWYX", unknown="x"),
    ReadOptions(letters="ACDEFGHIKLMNPQRSTVWY"),
    ReadOptions(letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ", max_residues=100),
    ReadOptions(max_residues=30, unknown="x", case="error"),
    ReadOptions(max_header_bytes=20),
]
COMPRESSIONS = ["plain"] * 4 + ["gz", "xz", "bz2", "zst"]
DAMAGES = ["none"] * 9 + ["cut", "flip", "garbage"]
SMALL_XZ = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
ZSTD = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=False)


Answer = TypeVar("Answer")


class Choices:
    """Answers questions from bytes; when they run out, always the first, plainest answer."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def number(self) -> int:
        return next(self._data, 0)

    def pick(self, answers: Sequence[Answer]) -> Answer:
        return answers[self.number() % len(answers)]

    def rest(self) -> bytes:
        return bytes(self._data)


def text_file(choices: Choices) -> bytes:
    """A FASTA-like file: mostly good lines, some odd ones, now and then bytes put in or taken out anywhere."""
    if choices.number() >= 250:
        return choices.rest()
    oddness = choices.pick([0, 0, 0, 0, 0, 16, 64])
    text = choices.pick(STARTS)
    line_end = choices.pick(LINE_ENDS)
    for _ in range(choices.number() % 6 + 1):
        lines = [choices.pick(HEADERS)]
        for _ in range(choices.number() % 4 + 1):
            lines.append(choices.pick(ODD_LINES) if choices.number() < oddness else choices.pick(SEQUENCES))
        text += line_end.join(lines) + line_end
    if choices.number() % 4 == 3:
        text = text.removesuffix(line_end)
    for _ in range(choices.pick([0, 0, 0, 1, 2])):
        place = choices.number() * (len(text) + 1) // 256
        text = text[:place] + choices.pick(INSERTS) + text[place + choices.number() % 2 :]
    return text


def compressed(text: bytes, compression: str, num_parts: int) -> list[bytes]:
    """Compress in `num_parts` members, streams or frames."""
    size = len(text) // num_parts + 1
    return [compressed_part(text[i * size : (i + 1) * size], compression) for i in range(num_parts)]


def compressed_part(text: bytes, compression: str) -> bytes:
    if compression == "gz":
        return gzip.compress(text, 1, mtime=0)
    if compression == "xz":
        return lzma.compress(text, filters=SMALL_XZ)
    if compression == "bz2":
        return bz2.compress(text, 1)
    return ZSTD.compress(text) if compression == "zst" else text


def read(data: bytes, options: ReadOptions, block_bytes: int) -> tuple[Outcome, str]:
    """Read with the package's reader; returns its outcome and message."""
    outcome, message = Outcome(), ""
    reader = FastaReader(io.BytesIO(data), options, block_bytes=block_bytes)
    try:
        for record in reader:
            outcome.records.append((record.id, record.description, record.sequence, record.line))
    except UserError as error:
        message = str(error)
        place = re.match(r"the stream, line (\d+)(?:, column (\d+))?: ", message)
        assert place is not None and message.isprintable(), message
        outcome.refused_at = int(place[1]), int(place[2]) if place[2] else None
    counts = reader.counts
    outcome.counts = (
        counts.records,
        counts.residues,
        counts.upper_cased,
        counts.stops_dropped,
        counts.unknown_replaced,
    )
    return outcome, message


def damaged(data: bytes, damage: str, choices: Choices) -> bytes:
    place = choices.number() * len(data) // 256
    if damage == "cut":
        return data[: max(place, 6)]
    if damage == "flip":
        place = max(place, 6)
        return data[:place] + bytes([data[place] ^ (1 << choices.number() % 8)]) + data[place + 1 :]
    return data + choices.pick([b"x", b"\x00garbage", b">b\nMKT\n", b"\x1f\x8b", data[:7]])


tally: Counter[str] = Counter()


@settings(
    max_examples=20_000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.binary(min_size=96, max_size=96))
def compare_readers(seed: bytes) -> None:
    choices = Choices(seed)
    options, block_bytes = choices.pick(OPTIONS), choices.pick(BLOCK_BYTES)
    compression, damage = choices.pick(COMPRESSIONS), choices.pick(DAMAGES)
    num_parts = choices.number() % 3 + 1
    text = text_file(choices)
    expected = read_slowly(text, options)
    parts = compressed(text, compression, num_parts)
    data = b"".join(parts)
    if compression == "plain" or damage == "none":
        found, message = read(data, options, block_bytes)
        assert found == expected, message
        tally["refused" if found.refused_at else "read"] += 1
        return
    data = damaged(data, damage, choices)
    found, message = read(data, options, block_bytes)
    tally["damaged"] += 1
    if found.refused_at is not None:
        assert damage != "cut" or found.records == expected.records[: len(found.records)], message
    elif damage == "cut":  # between two streams, where nothing tells that one is missing
        assert len(data) in (len(parts[0]), len(parts[0] + parts[1]))
    else:  # a bit that means nothing, such as gzip's time stamp
        assert damage == "flip"
        assert found == expected


def test_twenty_thousand_generated_files_are_read_as_the_slow_reader_reads_them() -> None:
    tally.clear()
    compare_readers()
    # The inputs must be worth comparing: enough of each kind.
    assert tally["read"] > 6_000
    assert tally["refused"] > 6_000
    assert tally["damaged"] > 1_500
