"""Designs of the bundled model judged: malate dehydrogenases (a family) and nanobodies (one protein); pages and tables.

    python benchmarks/design_reports.py mdh --designs NAME=FASTA ... [--control NAME=FASTA ...] [--cut 256] --out P.html
    python benchmarks/design_reports.py nanobody --designs NAME=FASTA ... --parent FASTA --out P.html

What `openankh design report` measures, with controls that fit each experiment. mdh: 150 naturals cut to as many
residues as the designs may have, and what `--control` names, such as proteins the model wrote before it was adapted.
nanobody: for each set the parent changed at the very places of its designs, to residues drawn from the family's
composition: what keeping the other residues is worth alone. Prints the table as Markdown.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import SHARED

from openankh.fasta import FastaReader
from openankh.files import write_file_atomically
from openankh.judging.composition import AMINO_ACIDS, shares
from openankh.judging.judge import judge
from openankh.judging.page import page
from openankh.judging.protein_set import ProteinSet, read_set
from openankh.judging.tables import markdown

FAMILIES = {
    "mdh": (SHARED / "data" / "mdh" / "train.csv.gz", "Malate dehydrogenases"),
    "nanobody": (SHARED / "data" / "nanobody" / "nanobodies.fasta.gz", "Nanobodies"),
}


def named(text: str) -> ProteinSet:
    """The set that NAME=FASTA tells."""
    name, _, path = text.partition("=")
    return read_set(path, name)


def cut(family: ProteinSet, most: int) -> ProteinSet:
    """Some naturals, no longer than designs may be."""
    some = family.distinct().sample(150, seed=1, name=f"natural, first {most}")
    return ProteinSet(some.name, some.ids, tuple(sequence[:most] for sequence in some.sequences))


def changed_at_random(text: str, parent: str, family: ProteinSet) -> ProteinSet:
    """A set's parent with other residues, drawn from the family's composition, at the places of each of its designs."""
    name, _, path = text.partition("=")
    generator, shares_20 = np.random.default_rng(0), shares(family.sequences)
    ids, sequences = [], []
    for record in FastaReader(path):
        told = re.search(r"mutations=(\S+)", record.description)
        assert told, f"{path}: {record.id} tells no mutations"
        residues = list(parent)
        for mutation in told[1].split(":"):
            residues[int(mutation[1:-1]) - 1] = str(generator.choice(list(AMINO_ACIDS), p=shares_20))
        ids.append(record.id)
        sequences.append("".join(residues))
    return ProteinSet(f"{name}, at random", tuple(ids), tuple(sequences))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=FAMILIES)
    parser.add_argument("--designs", nargs="+", required=True, metavar="NAME=FASTA")
    parser.add_argument("--control", nargs="*", default=[], metavar="NAME=FASTA")
    parser.add_argument("--cut", type=int, help="also naturals cut to so many residues")
    parser.add_argument("--parent", type=Path, help="the protein that was changed")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    path, title = FAMILIES[chosen.experiment]
    start, family = time.process_time(), read_set(path)
    controls = [named(text) for text in chosen.control]
    controls += [cut(family, chosen.cut)] if chosen.cut else []
    if chosen.parent:
        parent = read_set(chosen.parent).sequences[0]
        controls += [changed_at_random(text, parent, family) for text in chosen.designs]
    judgement = judge([named(text) for text in chosen.designs], family, controls)
    write_file_atomically(chosen.out, page(judgement, f"{title} of the bundled model"))
    print(markdown(judgement))
    facts = judgement.family
    print(f"{facts.num_proteins:,} naturals, the profile of {facts.num_learned:,} has {facts.num_columns} columns;")
    print(f"{time.process_time() - start:.0f} s of one thread's CPU, load {os.getloadavg()[0]:.1f}.", file=sys.stderr)


if __name__ == "__main__":
    main()
