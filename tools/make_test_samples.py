"""Makes tests/data/sample.fasta (50 real proteins) and sample_wrapped.fasta.gz (the same, 60 letters a line).

    python tools/make_test_samples.py SHARED_DATA

SHARED_DATA holds pretrain/valid.fasta.xz. The proteins are drawn at random (fixed seed) among the UniProt and RefSeq
records of up to 2,000 residues that are written in the 20 amino acids; headers are kept as they are.
"""

import gzip
import random
import sys
from pathlib import Path

from openankh import FastaReader, Record

NUM_PROTEINS = 50
MAX_RESIDUES = 2_000
SEED = 20
FOLDER = Path(__file__).parent.parent / "tests" / "data"
AMINO_ACIDS = set("ACDEFGHIKLMNPQRSTVWY")
NATURAL = {"gapseq_uniprot", "ncbi_proteomes68", "deeploc2_swissprot_euk", "proteoknight_phage"}
"""Values of the header word `source` whose records are natural proteins with UniProt or RefSeq accessions."""


def fits(record: Record) -> bool:
    source = record.description.split()[0].removeprefix("source=")
    return source in NATURAL and len(record.sequence) <= MAX_RESIDUES and set(record.sequence) <= AMINO_ACIDS


def drawn(corpus: Path) -> list[Record]:
    """The chosen records in the order of the file."""
    with FastaReader(corpus) as records:
        fitting = [record for record in records if fits(record)]
    return sorted(random.Random(SEED).sample(fitting, NUM_PROTEINS), key=lambda record: record.line)


def fasta(records: list[Record], line_length: int) -> str:
    lines = []
    for record in records:
        lines.append(f">{record.id} {record.description}")
        starts = range(0, len(record.sequence), line_length)
        lines += [record.sequence[start : start + line_length] for start in starts]
    return "\n".join(lines) + "\n"


def main() -> None:
    records = drawn(Path(sys.argv[1]) / "pretrain" / "valid.fasta.xz")
    (FOLDER / "sample.fasta").write_text(fasta(records, MAX_RESIDUES))
    (FOLDER / "sample_wrapped.fasta.gz").write_bytes(gzip.compress(fasta(records, 60).encode(), mtime=0))
    lengths = sorted(len(record.sequence) for record in records)
    print(f"{len(records)} proteins, {sum(lengths)} residues, {lengths[0]} to {lengths[-1]} long")


if __name__ == "__main__":
    main()
