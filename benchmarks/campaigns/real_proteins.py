"""Real proteins for campaigns: a FASTA file of some held-out ones, with repeats as real files have them."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import draw_proteins

LONGEST = 700


def write_proteins(path: Path, count: int, seed: int = 0) -> int:
    """Write so many proteins of at most 700 residues; one in ten again under its id or another. Returns residues."""
    drawn = [record for record in draw_proteins(4 * count, seed).records if len(record.sequence) <= LONGEST][:count]
    generator = random.Random(seed)
    pairs = [(record.id, record.sequence) for record in drawn]
    for protein_id, sequence in generator.sample(pairs, count // 10):
        name = protein_id if generator.random() < 0.5 else f"{protein_id}-again"
        pairs.insert(generator.randrange(len(pairs)), (name, sequence))
    path.write_text("".join(f">{protein_id}\n{sequence}\n" for protein_id, sequence in pairs))
    return sum(len(sequence) for _, sequence in pairs)
