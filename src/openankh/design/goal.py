"""Goals: what a mutant is wanted for, a score of the model's or what a learned predictor says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.fasta import Record
from openankh.loaded import LoadedModel
from openankh.scoring.method import ScoringOptions
from openankh.scoring.scan import COLUMNS, Scan
from openankh.scoring.variant import variant_of_sequence
from openankh.tasks.predicting import Prediction, Predictions
from openankh.tasks.target_space import Classes, Labels, Numbers


class Goal(Protocol):
    """Judges sequences of one length."""

    @property
    def name(self) -> str:
        """What the numbers are."""
        ...

    def values(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """A number for each."""
        ...


class ScanGoal:
    """The sum of single substitutions' scores, for methods that judge each by itself."""

    def __init__(self, scan: Scan, name: str) -> None:
        self._scan, self.name = scan, name
        self._column_of = {letter: column for column, letter in enumerate(COLUMNS)}

    def values(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """In nats, above 0 where the model prefers the mutant."""
        return np.array([self._sum(sequence) for sequence in sequences], np.float64)

    def _sum(self, sequence: str) -> float:
        pairs = enumerate(zip(sequence, self._scan.wild_type, strict=True))
        raw = self._scan.raw_L20
        return sum(float(raw[place, self._column_of[new]]) for place, (new, old) in pairs if new != old)


class ScoreGoal:
    """A score that reads each mutant as a whole."""

    def __init__(self, loaded: LoadedModel, parent: str, options: ScoringOptions) -> None:
        self._loaded, self._parent, self._options = loaded, parent, options
        self.name: str = options.method

    def values(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """In nats, above 0 where the model prefers the mutant."""
        variants = [variant_of_sequence(sequence, self._parent) for sequence in sequences]
        scorer = self._loaded.scorer(self._options)
        return np.array([score.raw for score in scorer.score(self._parent, variants)], np.float64)


class PredictorGoal:
    """What a predictor says: its number, or the probability of one class or label, named by `target`.

    Raises UserError for a predictor that says nothing about a protein as a whole, and for a class it does not have.
    """

    def __init__(self, predictions: Predictions, target: str | None) -> None:
        self._predictions = predictions
        artifact = predictions.artifact
        self._place = _place_of(predictions, target)
        self.name = f"{artifact.origin.task}:{target}" if target is not None else artifact.origin.task

    def values(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """In the unit of the predictor's training, or probabilities."""
        records = (Record(str(number), "", sequence, 1) for number, sequence in enumerate(sequences))
        return np.array([self._value(each) for each in self._predictions.predict(records)], np.float64)

    def _value(self, prediction: Prediction) -> float:
        if self._place is None:
            assert isinstance(prediction.values, float)
            return prediction.values
        assert prediction.probabilities is not None
        return float(prediction.probabilities.ravel()[self._place])


@dataclass
class Judge:
    """A goal with its sign, so that more is better; each sequence is judged once, and remembered."""

    goal: Goal
    minimises: bool = False
    told: Callable[[int], None] = lambda num_judged: None
    known: dict[str, float] = field(default_factory=dict)

    def merits(self, sequences: Sequence[str]) -> NDArray[np.float64]:
        """How good each is."""
        new = [sequence for sequence in dict.fromkeys(sequences) if sequence not in self.known]
        if new:
            values = self.goal.values(new)
            if not np.isfinite(values).all():
                raise UserError(f"{self.goal.name}: gave a number that is not finite; check the model or the predictor")
            self.known |= dict(zip(new, (-values if self.minimises else values).tolist(), strict=True))
            self.told(len(self.known))
        return np.array([self.known[sequence] for sequence in sequences], np.float64)

    def value(self, sequence: str) -> float:
        """What the goal itself says of a sequence that was judged."""
        return (-1 if self.minimises else 1) * self.known[sequence] + 0.0


def _place_of(predictions: Predictions, target: str | None) -> int | None:
    """Which of the probabilities counts; None for a number."""
    artifact, space = predictions.artifact, predictions.artifact.space
    where = artifact.folder or "the predictor"
    if artifact.config.unit != "protein":
        raise UserError(f"{where}: predicts something of each {artifact.config.unit}; a goal has to be of the protein")
    if isinstance(space, Numbers):
        if target is not None:
            raise UserError(f"--target {target}: {where} predicts a number, which has no classes; leave it out")
        return None
    assert isinstance(space, Classes | Labels)
    names = ", ".join(space.names[:12])
    if target is None:
        raise UserError(f"{where}: predicts classes; name the one that is wanted with --target: {names}")
    if target not in space.names:
        raise UserError(f"--target {target}: {where} has no such class; it has {names}")
    return space.names.index(target)
