"""Recognises, by its first bytes, what a file that is not protein FASTA is instead, and says what to do about it."""

import re

from openankh.decompression import compression_of

SNIFF_BYTES = 1 << 10
"""How many leading bytes are enough to recognise a format."""

_UTF16 = "is UTF-16 text; save it as UTF-8 (or plain ASCII)"
_SEARCH = 'give the FASTA file itself (web pages come from an address without "/download" or "?format=fasta")'
_PDB = "is a PDB structure file; extract the sequences of its chains as FASTA"
_FLAT = "is a flat-file entry (GenBank, EMBL or UniProt text); download it as FASTA"

_PIR_HEADER = re.compile(rb">(P1|F1|DL|DC|RL|RC|N1|N3|XX);")
_PIR = "the file is PIR (NBRF), whose title lines would be read as sequence; convert it to FASTA"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe", _UTF16),
    (b"\xfe\xff", _UTF16),
    (b"PK\x03\x04", "is a zip archive (or an Office file); unpack it and give the FASTA file in it"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; unpack it and give the FASTA file in it"),
    (b"Rar!\x1a\x07", "is a RAR archive; unpack it and give the FASTA file in it"),
    (b"\x1f\x9d", "is compressed with compress (.Z); unpack it, or recompress it as gz"),
    (b"\x04\x22\x4d\x18", "is compressed with lz4; unpack it, or recompress it as zst"),
    (b"\x5d\x00\x00", "is compressed with the old lzma format; unpack it, or recompress it as xz"),
    (b"LZIP", "is compressed with lzip; unpack it, or recompress it as xz"),
    (b"\x89HDF", "is an HDF5 file; give the FASTA file it was made from"),
    (b"PAR1", "is a Parquet file; export its sequences as FASTA"),
    (b"%PDF", "is a PDF document; give a FASTA file"),
    (b"{\\rtf", "is a rich-text document; save it as plain text"),
    (b"SQLite format 3", "is an SQLite database; export its sequences as FASTA"),
    (b"\x93NUMPY", "is a NumPy file; give a FASTA file"),
)

_TEXT: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE if pattern.startswith(rb"<") else 0), problem)
    for pattern, problem in (
        (rb"@[^\n]*\n[^\n]*\n\+", "is FASTQ; OpenAnkh reads protein FASTA, not sequencing reads: translate them first"),
        (rb"@SQ\t|@HD\t|@RG\t|@PG\t", "is a SAM alignment; give a protein FASTA file"),
        (rb"@", "starts like FASTQ (@); OpenAnkh reads protein FASTA, whose headers start with >"),
        (rb"<(!doctype html|html|head|body)", "is a web page, not FASTA: the download went wrong; " + _SEARCH),
        (rb"<", "is XML or a web page; download the sequences as FASTA"),
        (rb"(LOCUS|ID|AC|DEFINITION|ACCESSION) {2,}", _FLAT),
        (rb"(HEADER|TITLE|COMPND|REMARK|CRYST1|ATOM|HETATM|MODEL|SEQRES) {1,}", _PDB),
        (rb"data_\S*\s", "is an mmCIF structure file; extract the sequences of its chains as FASTA"),
        (rb"CLUSTAL|MUSCLE", "is a Clustal alignment; convert it to FASTA and remove the gaps"),
        (rb"# STOCKHOLM", "is a Stockholm alignment; convert it to FASTA and remove the gaps"),
        (rb"#NEXUS", "is a NEXUS file; convert it to FASTA and remove the gaps"),
        (rb"!![AN]A_", "is a GCG file; convert it to FASTA"),
        (rb"##gff", "is a GFF annotation file; give the protein FASTA that belongs to it"),
        (rb"[ \t]*\d+[ \t]+\d+[ \t]*\r?\n", "looks like a PHYLIP alignment; convert it to FASTA and remove the gaps"),
        (rb"[{\[]", "is JSON; give the sequences as FASTA"),
        (rb"%YAML|---\s", "is YAML; give the sequences as FASTA"),
        (rb";", 'starts with a ";" comment, which FASTA no longer has; remove those lines (grep -v "^;")'),
        (
            rb'[^\n>]*?[^\n,>]"?,[^\n]*\n',
            "looks like a CSV table; write its sequences as FASTA: >name, then the sequence",
        ),
        (rb"[^\n>]*\t[^\n]*\n", "looks like a table (TSV); write its sequences as FASTA: >name, then the sequence"),
    )
)


def foreign_format(head: bytes) -> str | None:
    """Say what a file is that is not FASTA, and the remedy; None if it starts as FASTA does.

    `head` starts at the first byte that is not white space and holds up to SNIFF_BYTES.
    """
    if head.startswith(b">") and not _is_utf16(head):
        return _PIR if _PIR_HEADER.match(head) else None
    problem = _binary_format(head) or next((problem for pattern, problem in _TEXT if pattern.match(head)), None)
    if problem is not None:
        return f"the file {problem}"
    return "the first line is not a header (a line that starts with >); add one above the sequence, as in >name"


def _binary_format(head: bytes) -> str | None:
    compression = compression_of(head)
    if compression is not None:
        return f"holds {compression} data inside (compressed twice?); unpack it once more"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and give the FASTA file in it"
    for magic, problem in _MAGIC:
        if head.startswith(magic):
            return problem
    if _is_utf16(head):
        return _UTF16
    if _CONTROL.search(head):
        return "is a binary file; give a FASTA file (text)"
    return None


def _is_utf16(head: bytes) -> bool:
    """True for ASCII text stored as UTF-16 without a byte order mark."""
    odd, even = head[:64:2], head[1:64:2]
    return len(head) >= 4 and ((not any(even) and all(odd)) or (not any(odd) and all(even)))
