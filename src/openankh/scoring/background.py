"""The residue background: how often each residue would be expected without any knowledge of its place."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

Kind = Literal["protein", "standard"]
KINDS: tuple[Kind, ...] = ("protein", "standard")

# Counted over the 1,072,943 standard residues of the 3,000 proteins held out from the bundled model's training.
STANDARD = {
    "A": 0.0862, "L": 0.1006, "G": 0.0710, "V": 0.0687, "S": 0.0674, "R": 0.0559, "E": 0.0647, "D": 0.0556, "T": 0.0544,
    "I": 0.0598, "P": 0.0483, "K": 0.0515, "F": 0.0388, "Q": 0.0371, "N": 0.0402, "Y": 0.0303, "M": 0.0226, "H": 0.0224,
    "W": 0.0123, "C": 0.0122,
}  # fmt: skip
"""Share of each amino acid in known proteins."""

_OTHER = 0.0005
"""Share given to letters such as X that stand for no single amino acid."""

_PRIOR = 20
"""Residues' worth of `STANDARD` mixed into a protein's own counts, so that what it lacks is rare but not impossible."""


@dataclass(frozen=True)
class Background:
    """Natural logarithms of the shares of residues; letters not named are rare."""

    log_shares: dict[str, float]

    @classmethod
    def of(cls, wild_type: str, kind: Kind = "protein") -> "Background":
        """`standard`: that of known proteins; `protein`: of this one, with 20 residues of known ones mixed in."""
        if kind == "standard":
            return cls({letter: math.log(share) for letter, share in STANDARD.items()})
        counts, total = Counter(wild_type), len(wild_type) + _PRIOR
        letters = set(STANDARD) | set(counts)
        shares = {letter: (counts[letter] + _PRIOR * STANDARD.get(letter, _OTHER)) / total for letter in letters}
        return cls({letter: math.log(share) for letter, share in shares.items()})

    def log_share(self, letter: str) -> float:
        """Of one residue."""
        return self.log_shares.get(letter, math.log(_OTHER))

    def change(self, sequence: str, wild_type: str) -> float:
        """What the composition alone makes of a change: log-probability of the one's residues less the other's."""
        gained = Counter(sequence)
        gained.subtract(Counter(wild_type))
        return math.fsum(count * self.log_share(letter) for letter, count in gained.items() if count)
