"""What relatives of a protein have at each of its positions: homologs found by HMMER, weighted, counted.

    python benchmarks/homologs.py [--assays NAME ...] [--rounds 3] [--out FOLDER]

Three rounds as jackhmmer's over all 576,008 proteins of ../shared/data/pretrain/train.fasta.xz (the bundled model's
training proteins): the wild type first, then the profile of what was found at E <= 1e-5. Proteins that cover at least
half of the wild type are aligned to the last profile, its positions being those where the wild type has a residue;
copies count once, and each protein as one over the number of those at least 80 % identical to it (at most the best
5,000 are taken). What is written for each assay, in a file of FOLDER: how many, their effective number, and the
logarithm of each residue's share at each position, ten proteins' worth of known proteins' composition mixed in.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import SHARED
from numpy.typing import NDArray

from openankh.fasta import FastaReader, ReadOptions
from openankh.files import atomic_file
from openankh.scoring.background import STANDARD
from openankh.scoring.scan import COLUMNS

PROTEINS = SHARED / "data" / "pretrain" / "train.fasta.xz"
OUT = Path("runs/variant_effects/homologs")
INCLUDED, COVERED, ALIKE, MOST, PRIOR = 1e-5, 0.5, 0.8, 5_000, 10.0


@dataclass(frozen=True, eq=False)
class SiteProfile:
    """Log shares of the 20 amino acids at each position of a wild type, and of how many homologs they are."""

    num: int
    effective: float
    log_shares_L20: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "SiteProfile":
        """As `write` left it."""
        with np.load(path) as found:
            return cls(int(found["num"]), float(found["effective"]), found["log_shares"])

    def write(self, path: Path) -> None:
        """One NPZ file."""
        with atomic_file(path) as file:
            np.savez(file, num=self.num, effective=self.effective, log_shares=self.log_shares_L20)


def site_profile(codes_NL: NDArray[np.integer]) -> SiteProfile:
    """Count aligned proteins (0 to 19 an amino acid, else a gap), each by its weight."""
    weights_N = weights(codes_NL)
    counts_L20 = np.stack([((codes_NL == code) * weights_N[:, None]).sum(axis=0) for code in range(20)], axis=1)
    prior_20 = np.array([STANDARD[letter] for letter in COLUMNS])
    shares_L20 = (counts_L20 + PRIOR * prior_20 / prior_20.sum()) / (counts_L20.sum(axis=1, keepdims=True) + PRIOR)
    return SiteProfile(len(codes_NL), float(weights_N.sum()), np.log(shares_L20))


def weights(codes_NL: NDArray[np.integer]) -> NDArray[np.float64]:
    """One over how many proteins are at least 80 % identical, itself among them, over the positions both have (N,)."""
    num, length = codes_NL.shape
    one_hot = (codes_NL[:, :, None] == np.arange(20)).reshape(num, length * 20).astype(np.float32)
    is_there = (codes_NL < 20).astype(np.float32)
    found = np.zeros(num)
    for first in range(0, num, 500):
        same = one_hot[first : first + 500] @ one_hot.T
        both = is_there[first : first + 500] @ is_there.T
        found[first : first + 500] = 1 / (same >= ALIKE * np.maximum(both, 1)).sum(axis=1)
    return found


class Search:
    """All proteins in memory, searched with one wild type after another."""

    def __init__(self, path: Path) -> None:
        from pyhmmer.easel import Alphabet, DigitalSequenceBlock, TextSequence
        from pyhmmer.plan7 import Background, Builder

        self.alphabet = Alphabet.amino()
        self.builder, self.background = Builder(self.alphabet, seed=42), Background(self.alphabet)
        texts = (
            TextSequence(name=str(place), sequence=record.sequence)
            for place, record in enumerate(FastaReader(path, ReadOptions(unknown="x")))
        )
        self.block = DigitalSequenceBlock(self.alphabet, [text.digitize(self.alphabet) for text in texts])

    def aligned(self, wild_type: str, rounds: int) -> NDArray[np.uint8]:
        """Homologs on the wild type's positions, the wild type itself first, (N, L)."""
        from pyhmmer.easel import DigitalMSA, DigitalSequenceBlock, TextSequence
        from pyhmmer.hmmer import hmmalign
        from pyhmmer.plan7 import Pipeline

        query = TextSequence(name="wild", sequence=wild_type).digitize(self.alphabet)
        hmm = self.builder.build(query, self.background)[0]
        found: dict[str, int] = {}
        for number in range(rounds):
            hits = Pipeline(self.alphabet, incE=INCLUDED, E=INCLUDED, seed=42).search_hmm(hmm, self.block)
            best = [hit for hit in hits if hit.included][: 4 * MOST]
            spans = [(int(hit.name), hit.best_domain.env_from, hit.best_domain.env_to) for hit in best]
            found = {self._part(*span): place for place, span in enumerate(spans)}
            parts = [TextSequence(name=str(place), sequence=part) for part, place in found.items()][:MOST]
            block: Any = DigitalSequenceBlock(self.alphabet, [query, *(each.digitize(self.alphabet) for each in parts)])
            msa = hmmalign(hmm, block, digitize=True, trim=False, cpus=1)
            assert isinstance(msa, DigitalMSA)
            print(f"  round {number + 1}: {len(best):,} found", file=sys.stderr, flush=True)
            if number + 1 < rounds:
                msa.name = "homologs"
                hmm = self.builder.build_msa(msa, self.background)[0]
        rows = np.array([np.frombuffer(bytes(row), np.uint8) for row in msa.alignment])  # pyright: ignore[reportPossiblyUnboundVariable]
        rows_NL = rows[:, rows[0] < 20]
        return rows_NL[(rows_NL < 20).mean(axis=1) >= COVERED]

    def _part(self, place: int, start: int, end: int) -> str:
        return self.block[place].textize().sequence[start - 1 : end]


def main(arguments: Sequence[str] | None = None) -> None:
    """Search for what is not there yet."""
    from variant_effects import known_assays, wild_types

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assays", nargs="*", choices=known_assays(), help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    start, search, sequences = time.process_time(), Search(PROTEINS), wild_types()
    print(f"read in {time.process_time() - start:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    for name in chosen.assays or known_assays():
        path = chosen.out / f"{name}.npz"
        if path.exists():
            continue
        start = time.process_time()
        found = site_profile(search.aligned(sequences[name], chosen.rounds))
        found.write(path)
        seconds = time.process_time() - start
        print(f"{name}: {found.num:,} homologs, effective {found.effective:.0f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
