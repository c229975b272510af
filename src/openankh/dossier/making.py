"""Dossiers made: proteins in, one dossier each, in order, a few dozen proteins at a time. D model width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openankh.dossier.dossier import (
    VERSION,
    ContactMap,
    Dossier,
    Label,
    NearProtein,
    Property,
    ResidueTrack,
    SecondHalf,
    VariantMap,
)
from openankh.dossier.effort import Effort, OnShare
from openankh.dossier.options import DossierOptions
from openankh.dossier.saying import Said, said
from openankh.dossier.sources import Annotated, Sources
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.generation.completion import Completion
from openankh.scoring.method import Method, ScoringOptions
from openankh.scoring.scan import COLUMNS
from openankh.search.answers import Neighbour

_TOGETHER = 32
_PASSES_OF_COMPLETION = 8
"""What writing a residue costs beside reading one, about."""


@dataclass
class _Parts:
    """What is found out about a protein, part by part."""

    said: list[Said] = field(default_factory=list)
    neighbours: tuple[NearProtein, ...] = ()
    variants: VariantMap | None = None
    second_half: SecondHalf | None = None
    notes: list[str] = field(default_factory=list)


class DossierMaker:
    """Makes dossiers of a fixed list of proteins; numbers count from 1."""

    def __init__(
        self, sources: Sources, records: Sequence[Record], options: DossierOptions, on_share: OnShare | None = None
    ) -> None:
        self.sources, self._records, self._options = sources, records, options
        self.method: Method | None = options.method_for(sources.loaded, [len(record.sequence) for record in records])
        self._effort = Effort(sum(map(self._size_of, records)), on_share or (lambda share, what: None))

    def make(self, first: int = 0) -> Iterator[Dossier]:
        """The dossiers from the protein at place `first` (from 0) on."""
        if first:
            self._effort.begin("", sum(map(self._size_of, self._records[:first])))
        for start in range(first, len(self._records), _TOGETHER):
            yield from self._chunk(start, self._records[start : start + _TOGETHER])

    def _size_of(self, record: Record) -> float:
        length = len(record.sequence)
        passes = 2 + len(self.sources.predictors) + _PASSES_OF_COMPLETION / 2
        scan = {"masked-marginal": length, "wild-type-marginal": 1}.get(self.method or "", 0)
        return length * (passes + scan)

    def _chunk(self, start: int, records: Sequence[Record]) -> Iterator[Dossier]:
        parts = [_Parts() for _ in records]
        residues = sum(len(record.sequence) for record in records)
        self._effort.begin("embedding", residues)
        vectors = [vector for _, vector in self.sources.loaded.embed(list(records))]
        self._effort.begin("searching annotated proteins", residues)
        self._search(records, parts)
        for predictor in self.sources.predictors:
            self._effort.begin(f"predicting {predictor.artifact.origin.title.lower()}", residues)
            for part, prediction in zip(parts, predictor.predict(records), strict=True):
                part.said += [told] if (told := said(predictor, prediction)) else []
        self._effort.begin("completing", residues * _PASSES_OF_COMPLETION / 2)
        self._complete(records, parts)
        for place, (record, part, vector) in enumerate(zip(records, parts, vectors, strict=True), start=start + 1):
            if self.method:
                self._scan(place, record, part, self.method)
            yield _dossier(place, record, part, vector)

    def _search(self, records: Sequence[Record], parts: Sequence[_Parts]) -> None:
        annotated = self.sources.annotated
        if annotated is None:
            return
        answers = annotated.lookup.search(list(records), self._options.neighbours, exclude_self=True)
        for part, answer in zip(parts, answers, strict=True):
            part.neighbours = tuple(_near(each, annotated) for each in answer.neighbours)

    def _complete(self, records: Sequence[Record], parts: Sequence[_Parts]) -> None:
        """Each second half, by the likeliest residues; a model without a decoder writes none."""
        pairs = [(record, part) for record, part in zip(records, parts, strict=True) if len(record.sequence) >= 2]
        try:
            completions = self.sources.loaded.complete([record for record, _ in pairs], keep=0.5)
            for number, ((_, part), completion) in enumerate(zip(pairs, completions, strict=True), start=1):
                part.second_half = _second_half(completion)
                self._effort.reach(number / len(pairs))
        except UserError as error:
            for part in parts:
                part.notes.append(f"completion: {error}")

    def _scan(self, place: int, record: Record, part: _Parts, method: Method) -> None:
        length = len(record.sequence)
        size = length * (length if method == "masked-marginal" else 1)
        self._effort.begin(f"scoring variants of protein {place} of {len(self._records)}", size)
        try:
            scorer = self.sources.loaded.scorer(
                ScoringOptions(method), lambda done, num: self._effort.reach(done / num)
            )
            scan = scorer.scan(record.sequence)
        except UserError as error:
            part.notes.append(f"variants: {error}")
            return
        part.variants = VariantMap(method, COLUMNS, _rows(scan.raw_L20), _rows(scan.calibrated_L20))


def _dossier(number: int, record: Record, part: _Parts, vector: NDArray[np.floating]) -> Dossier:
    return Dossier(
        version=VERSION,
        number=number,
        id=record.id,
        description=record.description,
        length=len(record.sequence),
        sequence=record.sequence,
        tracks=tuple(each for each in part.said if isinstance(each, ResidueTrack)),
        properties=tuple(each for each in part.said if isinstance(each, Property)),
        contacts=next((each for each in part.said if isinstance(each, ContactMap)), None),
        variants=part.variants,
        neighbours=part.neighbours,
        second_half=part.second_half,
        embedding=tuple(vector.astype(np.float64).tolist()),
        notes=tuple(part.notes),
    )


def _near(found: Neighbour, annotated: Annotated) -> NearProtein:
    labels = tuple(
        Label(each.name, each.label, next((share.share for _, share in each.reliability), None))
        for each in found.transfers
    )
    described = annotated.descriptions.get(found.id, "")
    return NearProtein(found.rank, found.id, described, found.distance, found.similarity, labels)


def _second_half(completion: Completion) -> SecondHalf:
    truth = completion.record.sequence[completion.kept :]
    identical = sum(one == other for one, other in zip(completion.written, truth, strict=True))
    return SecondHalf(completion.kept, completion.written, truth, identical, completion.perplexity)


def _rows(scores_L20: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in scores_L20.tolist())
