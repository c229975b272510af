"""The mutants that may be proposed: which places of a protein may change, and to which residues."""

from collections.abc import Iterator
from dataclasses import dataclass

from openankh.design.masking import Masking
from openankh.errors import UserError
from openankh.generation.residue_rules import ResidueRules
from openankh.scoring.scan import COLUMNS, Scan


@dataclass(frozen=True)
class MutantSpace:
    """`places`, from 0 and ascending, and for each the residues other than the parent's that may stand there."""

    parent: str
    places: tuple[int, ...]
    choices: tuple[str, ...]

    @classmethod
    def of(cls, parent: str, masking: Masking, rules: ResidueRules) -> "MutantSpace":
        """Of the places that masking would let be hidden; UserError where nothing may change."""
        free = "".join(letter for letter in COLUMNS if letter in set(rules.letters) - set(rules.forbidden))
        at = dict(rules.fixed)
        found = []
        for place in masking.candidates(len(parent)).tolist():
            letters = "".join(sorted(set(at.get(place + 1, free)) - set(rules.forbidden) - {parent[place]}))
            if letters:
                found.append((place, letters))
        if not found:
            raise UserError("no residue of the protein may become another; fix fewer places, or allow more letters")
        return cls(parent, tuple(place for place, _ in found), tuple(letters for _, letters in found))

    @property
    def num_singles(self) -> int:
        """Single substitutions that may be made."""
        return sum(map(len, self.choices))

    def letters_at(self, place: int) -> str:
        """What may stand at a place of the space beside the parent's residue."""
        return self.choices[self.places.index(place)]

    def singles(self, sequence: str) -> Iterator[str]:
        """Each sequence with one more change, at places that are still the parent's."""
        for place, letters in zip(self.places, self.choices, strict=True):
            if sequence[place] == self.parent[place]:
                for letter in letters:
                    yield sequence[:place] + letter + sequence[place + 1 :]

    def num_changes(self, sequence: str) -> int:
        """How many substitutions a sequence has."""
        return sum(a != b for a, b in zip(sequence, self.parent, strict=True))

    def narrowed(self, scan: Scan, num: int) -> "MutantSpace":
        """Only the `num` single changes that a scan likes best."""
        known = [
            (-float(scan.raw_L20[place, COLUMNS.index(letter)]), place, letter)
            for place, letters in zip(self.places, self.choices, strict=True)
            for letter in letters
            if letter in COLUMNS
        ]
        kept: dict[int, str] = {}
        for _, place, letter in sorted(known)[:num]:
            kept[place] = kept.get(place, "") + letter
        places = tuple(sorted(kept))
        return MutantSpace(self.parent, places, tuple("".join(sorted(kept[place])) for place in places))
