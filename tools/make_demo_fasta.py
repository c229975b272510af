"""Makes src/openankh/data/demo.fasta: the proteins of demo_proteins.csv, found by accession in the shared data folder.

    python tools/make_demo_fasta.py SHARED_DATA [--verify]

SHARED_DATA holds pretrain/train.fasta.xz and localisation/deeploc1.csv.gz (UniProt sequences by accession) and
variant_effects/proteingym_reference.csv.gz (wild types of ProteinGym by entry name). No sequence is edited. An
accession that is missing, or there with two sequences, stops the program.
--verify (with the package parasail) aligns all pairs: each protein must be joined to the others of its family by a
chain of good local alignments, and its best alignment outside the family must be below its best one inside.
"""

import argparse
import csv
import gzip
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from openankh import FastaReader, ReadOptions

LISTING = Path(__file__).with_name("demo_proteins.csv")
OUTPUT = Path(__file__).parent.parent / "src" / "openankh" / "data" / "demo.fasta"
LINE_LENGTH = 60
LETTERS = "ACDEFGHIKLMNPQRSTVWYXBOUZJ"
JOINED_SCORE = 75
"""A local alignment at or above this joins two members of a family (BLOSUM62, gaps 11 and 1; unrelated: 40 to 65)."""
OUTSIDE_SHARE = 0.9
"""The best score outside the family may reach this share of the best one inside."""


@dataclass(frozen=True)
class Protein:
    """A row of demo_proteins.csv and the sequence found for it."""

    accession: str
    name: str
    organism: str
    kingdom: str
    family: str
    sequence: str

    @property
    def fasta(self) -> str:
        header = f">{self.accession} {self.name} [{self.organism}] family={self.family} kingdom={self.kingdom}"
        starts = range(0, len(self.sequence), LINE_LENGTH)
        return "\n".join([header, *(self.sequence[start : start + LINE_LENGTH] for start in starts), ""])


def accession_of(identifier: str) -> str:
    """The UniProt accession in the ways the corpus writes it: P69905, UniRef90_P69905, sp|P69905|HBA_HUMAN."""
    parts = identifier.split("|")
    return parts[1] if len(parts) == 3 else identifier.removeprefix("UniRef90_").removeprefix("UniRef50_")


def corpus_sequences(corpus: Path, wanted: set[str]) -> dict[str, set[str]]:
    """The sequences of the wanted accessions in a FASTA file."""
    found: dict[str, set[str]] = {}
    with FastaReader(corpus, ReadOptions(letters=LETTERS)) as records:
        for record in records:
            accession = accession_of(record.id)
            if accession in wanted:
                found.setdefault(accession, set()).add(record.sequence)
    return found


def table_sequences(table: Path, key: str, value: str) -> dict[str, set[str]]:
    """The sequences of a gzipped CSV table, by the column that names them."""
    found: dict[str, set[str]] = {}
    with gzip.open(table, "rt", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row[key], set()).add(row[value])
    return found


def proteins(listing: Path, data: Path) -> Iterator[Protein]:
    """The listed proteins with their sequences, in the order of the list."""
    with listing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    twice = [accession for accession, count in Counter(row["accession"] for row in rows).items() if count > 1]
    if twice:
        sys.exit(f"{listing.name} lists {', '.join(twice)} more than once")
    corpus = corpus_sequences(data / "pretrain" / "train.fasta.xz", {row["accession"] for row in rows})
    deeploc = table_sequences(data / "localisation" / "deeploc1.csv.gz", "id", "sequence")
    proteingym = table_sequences(data / "variant_effects" / "proteingym_reference.csv.gz", "UniProt_ID", "target_seq")
    for row in rows:
        accession, entry = row["accession"], row.pop("proteingym")
        uniprot = corpus.get(accession, set()) | deeploc.get(accession, set())
        sequences = proteingym[entry] if entry else uniprot
        if len(sequences) != 1:
            sys.exit(f"{accession}: {len(sequences)} sequences found, expected one")
        yield Protein(**row, sequence=sequences.pop())


def pair_scores(chosen: list[Protein]) -> dict[frozenset[str], int]:
    """Smith-Waterman scores of all pairs, by the two accessions."""
    import parasail  # pyright: ignore[reportMissingImports]

    scores = {}
    for one, other in combinations(chosen, 2):
        alignment = parasail.sw_striped_16(one.sequence, other.sequence, 11, 1, parasail.blosum62)
        scores[frozenset((one.accession, other.accession))] = alignment.score
    return scores


def joined(family: list[Protein], scores: dict[frozenset[str], int]) -> set[str]:
    """The accessions that a chain of good alignments joins to the family's first member."""
    reached, frontier = set(), [family[0].accession]
    while frontier:
        here = frontier.pop()
        reached.add(here)
        frontier += [
            protein.accession
            for protein in family
            if protein.accession not in reached and scores[frozenset((here, protein.accession))] >= JOINED_SCORE
        ]
    return reached


def misfits(chosen: list[Protein]) -> Iterator[str]:
    """One line for each protein that its family does not hold, or that another family holds nearly as well."""
    scores = pair_scores(chosen)
    for family in dict.fromkeys(protein.family for protein in chosen):
        members = [protein for protein in chosen if protein.family == family]
        others = [protein for protein in chosen if protein.family != family]
        reached = joined(members, scores)
        yield from (f"{family}: {p.accession} stands apart" for p in members if p.accession not in reached)
        for protein in members:
            inside = max(scores[frozenset((protein.accession, p.accession))] for p in members if p is not protein)
            outside = max(scores[frozenset((protein.accession, p.accession))] for p in others)
            if outside > OUTSIDE_SHARE * inside:
                yield f"{family}: {protein.accession} scores {inside} inside, {outside} outside"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SHARED_DATA")
    parser.add_argument("--verify", action="store_true", help="align all pairs with parasail")
    arguments = parser.parse_args()
    chosen = list(proteins(LISTING, arguments.data))
    if arguments.verify:
        lines = list(misfits(chosen))
        print("\n".join(lines) or f"{len(chosen)} proteins fit their families")
        if lines:
            sys.exit(1)
    OUTPUT.write_text("".join(protein.fasta for protein in chosen))
    print(f"{OUTPUT}: {len(chosen)} proteins, {sum(len(p.sequence) for p in chosen)} residues")


if __name__ == "__main__":
    main()
