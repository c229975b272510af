"""The scorer: variants of one wild type after another, by one method.

L residues, P places, R residue letters of the vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.generation.reader import Reader
from openankh.mutation import Mutation
from openankh.scoring.background import Background
from openankh.scoring.completion_likelihood import CompletionLikelihood
from openankh.scoring.masked import MaskedResidues, Told
from openankh.scoring.method import ScoringOptions
from openankh.scoring.one_pass import rows_in_one_pass
from openankh.scoring.scan import COLUMNS, Scan, singles
from openankh.scoring.variant import Variant, parse_variant, require_residues
from openankh.scoring.window import Window
from openankh.vocab import Vocab


@dataclass(frozen=True)
class Score:
    """A variant's score, in nats, above 0 where the model prefers it to the wild type.

    `calibrated` is `raw` less what the residues' frequencies alone would give, so that a change is not preferred for
    bringing a residue that is common in the protein.
    """

    variant: Variant
    raw: float
    calibrated: float


class Scorer:
    """Scores variants with one model and one set of options."""

    def __init__(self, reader: Reader, vocab: Vocab, options: ScoringOptions, told: Told | None = None) -> None:
        self._reader, self._vocab, self.options, self._told = reader, vocab, options, told
        self._window = Window(options.window)

    def score(self, wild_type: str, variants: Iterable[Variant | str]) -> Iterator[Score]:
        """Scores in order. Raises UserError, before the first, for variants that this method or model cannot score."""
        wild_type = self._checked(wild_type)
        several = [each if isinstance(each, Variant) else parse_variant(each, wild_type) for each in variants]
        for variant in several:
            self._require_possible(variant)
        background = Background.of(wild_type, self.options.background)
        for variant, raw in zip(several, self._raw(wild_type, several, len(several)), strict=True):
            yield Score(variant, raw, raw - background.change(variant.sequence, wild_type))

    def scan(self, wild_type: str) -> Scan:
        """All single substitutions."""
        wild_type = self._checked(wild_type)
        raw_L20 = self._scanned(wild_type)
        background = Background.of(wild_type, self.options.background)
        new_20 = np.array([background.log_share(letter) for letter in COLUMNS])
        old_L = np.array([background.log_share(letter) for letter in wild_type])
        return Scan(wild_type, raw_L20, raw_L20 - (new_20[None] - old_L[:, None]))

    def _checked(self, wild_type: str) -> str:
        wild_type = wild_type.upper()
        if not wild_type:
            raise UserError("wild type: has no residues")
        require_residues(wild_type, self._vocab, "wild type: ")
        return wild_type

    def _require_possible(self, variant: Variant) -> None:
        if self.options.is_marginal and variant.mutations is None:
            raise UserError(
                f"{variant.place}{self.options.method} compares residues of one position, which insertions and "
                "deletions have not; use --method likelihood or pseudo-log-likelihood"
            )
        require_residues(variant.sequence, self._vocab, variant.place)

    def _raw(self, wild_type: str, variants: Iterable[Variant], num: int) -> Iterator[float]:
        if self.options.is_marginal:
            return self._marginals(wild_type, list(variants))
        if self.options.method == "likelihood":
            comparison = CompletionLikelihood(self._reader, self._vocab, self._window, wild_type)
            return self._watched(comparison.scores(variants), num)
        return self._watched(self._pseudo_likelihoods(wild_type, variants), num)

    def _watched(self, scores: Iterator[float], num: int) -> Iterator[float]:
        for number, score in enumerate(scores, start=1):
            if self._told:
                self._told(number, num)
            yield score

    def _marginals(self, wild_type: str, variants: Sequence[Variant]) -> Iterator[float]:
        """Sums over each variant's substitutions; every position is asked about once."""
        places = sorted({each.position - 1 for variant in variants for each in variant.mutations or ()})
        rows_PR, row_of = self._rows(wild_type, places), {place: row for row, place in enumerate(places)}
        column_of = {letter: column for column, letter in enumerate(self._vocab.letters)}

        def gain(mutation: Mutation) -> float:
            row_R = rows_PR[row_of[mutation.position - 1]]
            return row_R[column_of[mutation.mutant]] - row_R[column_of[mutation.wild_type]]

        for variant in variants:
            yield float(sum(gain(mutation) for mutation in variant.mutations or ()))

    def _rows(self, wild_type: str, places: Sequence[int]) -> NDArray[np.float64]:
        """What the method expects at these places of the wild type, (P, R)."""
        if self.options.method == "wild-type-marginal":
            return rows_in_one_pass(self._reader, self._vocab, self._window, wild_type)[list(places)]
        return MaskedResidues(self._reader, self._vocab, self._window, self._told).rows(wild_type, places)

    def _pseudo_likelihoods(self, wild_type: str, variants: Iterable[Variant]) -> Iterator[float]:
        """Each residue of each protein hidden in turn; inputs that the wild type has too are not read again."""
        masked = MaskedResidues(self._reader, self._vocab, self._window)
        column_of = {letter: column for column, letter in enumerate(self._vocab.letters)}

        def total(sequence: str, remember: bool = False) -> float:
            rows_LR = masked.rows(sequence, range(len(sequence)), remember=remember)
            return float(rows_LR[np.arange(len(sequence)), [column_of[letter] for letter in sequence]].sum())

        of_wild_type = total(wild_type, remember=True)
        for variant in variants:
            yield total(variant.sequence) - of_wild_type

    def _scanned(self, wild_type: str) -> NDArray[np.float64]:
        if self.options.is_marginal:
            rows_LR = self._rows(wild_type, range(len(wild_type)))
            letters = self._vocab.letters
            old_L = rows_LR[np.arange(len(wild_type)), [letters.index(letter) for letter in wild_type]]
            return rows_LR[:, [letters.index(letter) for letter in COLUMNS]] - old_L[:, None]
        scores_L20 = np.zeros((len(wild_type), len(COLUMNS)))
        mutations = list(singles(wild_type))
        variants = (_single(wild_type, mutation) for mutation in mutations)
        for mutation, raw in zip(mutations, self._raw(wild_type, variants, len(mutations)), strict=True):
            scores_L20[mutation.position - 1, COLUMNS.index(mutation.mutant)] = raw
        return scores_L20


def _single(wild_type: str, mutation: Mutation) -> Variant:
    place = mutation.position - 1
    return Variant(str(mutation), wild_type[:place] + mutation.mutant + wild_type[place + 1 :], (mutation,))
