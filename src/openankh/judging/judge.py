"""Designs held against a natural family, beside naturals that the profile has not seen, shuffled ones, and controls."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.judging.columns import Columns, columns_of, entropy_difference
from openankh.judging.composition import divergence, low_complexity, shares
from openankh.judging.family_profile import FamilyProfile
from openankh.judging.judgement import (
    FEWEST_NATURALS,
    FamilyFacts,
    Judgement,
    JudgeOptions,
    Kind,
    ProteinFacts,
    SetFacts,
    Share,
)
from openankh.judging.likeness import Naturals, Nearest, pairwise_identities
from openankh.judging.protein_set import ProteinSet
from openankh.judging.requirements import require_judging

HELD_OUT, SHUFFLED = "natural, held out", "shuffled"

Told = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many sets are."""


def judge(
    designs: Sequence[ProteinSet],
    family: ProteinSet,
    controls: Sequence[ProteinSet] = (),
    options: JudgeOptions | None = None,
    told: Told = lambda what, done, total: None,
) -> Judgement:
    """Judge sets of designs, each under its own name.

    The family is halved at random: one half makes the profile and the natural columns, proteins of the other are a
    control, and shuffled the other. Raises UserError for a family of fewer than 20 different proteins, for names used
    twice, and where the extra `judge` is missing.
    """
    require_judging()
    options = options or JudgeOptions()
    naturals = family.distinct()
    _require_sense(designs, controls, naturals)
    order = np.random.default_rng(options.seed).permutation(len(naturals))
    learned = naturals.chosen(sorted(order[: len(order) // 2])).sample(options.learned, options.seed)
    num_controls = options.controls or min(max(100, *map(len, designs)), 1_000)
    held_out = naturals.chosen(sorted(order[len(order) // 2 :])).sample(num_controls, options.seed, HELD_OUT)
    told("building the profile", 0, 1)
    ground = _Ground.of(learned, naturals, options)
    asked: list[_Asked] = [
        *(_Asked(each, "designs") for each in designs),
        *(_Asked(each, "control") for each in controls),
        _Asked(held_out, "control", "naturals of the half that the profile has not seen"),
        _Asked(held_out.shuffled(options.seed, SHUFFLED), "control", "the same naturals, residues in random order"),
    ]
    facts = []
    for number, each in enumerate(asked):
        told(f"judging {each.proteins.name}", number, len(asked))
        facts.append(ground.facts(each))
    return Judgement(
        family=ground.family_facts(family),
        sets=tuple(facts),
        natural_columns=ground.columns,
        natural_shares_20=ground.shares_20,
        profile=ground.profile.text,
        options=options,
    )


@dataclass(frozen=True)
class _Asked:
    proteins: ProteinSet
    kind: Kind
    origin: str = ""


def _require_sense(designs: Sequence[ProteinSet], controls: Sequence[ProteinSet], naturals: ProteinSet) -> None:
    assert designs, "at least one set of designs"
    names = Counter(each.name for each in (*designs, *controls)) + Counter((HELD_OUT, SHUFFLED))
    twice = next((name for name, num in names.items() if num > 1), None)
    if twice is not None:
        raise UserError(f"two sets are named {twice!r}; give one another name, as NAME=FILE")
    if len(naturals) < FEWEST_NATURALS:
        raise UserError(
            f"the family has {len(naturals)} different proteins; give at least {FEWEST_NATURALS}, half of which make "
            "its profile"
        )


@dataclass(frozen=True, eq=False)
class _Ground:
    """What all sets are held against."""

    learned: ProteinSet
    naturals: ProteinSet
    options: JudgeOptions
    profile: FamilyProfile
    searched: Naturals
    columns: Columns
    shares_20: NDArray[np.float64]

    @classmethod
    def of(cls, learned: ProteinSet, naturals: ProteinSet, options: JudgeOptions) -> "_Ground":
        profile = FamilyProfile.build(learned.sequences)
        columns = columns_of(profile.aligned(learned.sequences))
        searched = Naturals(naturals.sequences)
        return cls(learned, naturals, options, profile, searched, columns, shares(learned.sequences))

    def family_facts(self, family: ProteinSet) -> FamilyFacts:
        return FamilyFacts(
            origin=family.name,
            num_proteins=len(family),
            num_distinct=len(self.naturals),
            num_learned=len(self.learned),
            num_columns=self.profile.num_columns,
            seed_id=self.learned.ids[self.profile.seed_place],
            consensus=self.profile.consensus,
            bits_accepted=self.profile.bits_at(self.options.accept),
        )

    def facts(self, asked: _Asked) -> SetFacts:
        proteins, seed = asked.proteins, self.options.seed
        found = self._of_each(proteins, is_held_out=proteins.name == HELD_OUT)
        columns, shares_20 = columns_of(self.profile.aligned(proteins.sequences)), shares(proteins.sequences)
        return SetFacts(
            name=proteins.name,
            kind=asked.kind,
            origin=asked.origin,
            proteins=found,
            accepted=Share.of(sum(each.is_accepted for each in found), len(found)),
            unique=len(set(proteins.sequences)) / len(proteins),
            novel=sum(not each.is_natural for each in found) / len(found),
            pair_identities=pairwise_identities(proteins.sequences, seed),
            shares_20=shares_20,
            composition_bits=divergence(shares_20, self.shares_20),
            columns=columns,
            entropy=entropy_difference(columns, self.columns),
        )

    def _of_each(self, proteins: ProteinSet, is_held_out: bool) -> tuple[ProteinFacts, ...]:
        """Each different sequence is looked at once."""
        copies = Counter(proteins.sequences)
        scores = dict(zip(copies, self.profile.scores(list(copies)), strict=True))
        nearest = {each: self.searched.nearest(each, besides_itself=is_held_out) for each in copies}
        low = {each: low_complexity(each) for each in copies}
        return tuple(
            ProteinFacts(
                id=name,
                length=len(sequence),
                bits=scores[sequence].bits,
                e_value=scores[sequence].e_value,
                is_accepted=scores[sequence].e_value <= self.options.accept,
                nearest=self._id_of(nearest[sequence]),
                nearest_identity=found.identity if (found := nearest[sequence]) else 0.0,
                is_natural=sequence in self.searched,
                copies=copies[sequence],
                low_complexity=low[sequence],
            )
            for name, sequence in zip(proteins.ids, proteins.sequences, strict=True)
        )

    def _id_of(self, nearest: Nearest | None) -> str:
        return "" if nearest is None else self.naturals.ids[nearest.place]
