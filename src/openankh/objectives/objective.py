"""An objective: a mask and a presentation, one task that a model is trained on."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openankh.objectives.masks import Mask, RandomResidues
from openankh.objectives.presentations import Examples, PartialDemasking, Presentation, put_in_front
from openankh.packed import Packed
from openankh.vocab import Vocab


@dataclass(frozen=True)
class Objective:
    """A mask and a presentation, and the prefix put in front of the inputs when the vocabulary has one (`[NLU]`)."""

    name: str = "1-gram span partial demasking"
    mask: Mask = field(default_factory=RandomResidues)
    presentation: Presentation = field(default_factory=PartialDemasking)
    prefix: str | None = "[NLU]"

    def examples(self, residues: Packed, vocab: Vocab, rng: np.random.Generator) -> Examples:
        """Hide residues of a batch and show it to encoder and decoder."""
        shown = self.presentation.show(residues, self.mask.draw(residues, rng), vocab)
        if self.prefix is None or not vocab.has_prefix(self.prefix):
            return shown
        return Examples(put_in_front(shown.inputs, vocab.prefix_id(self.prefix)), shown.targets)

    @property
    def tasks(self) -> "tuple[Objective, ...]":
        """Itself alone: what a mixture has several of."""
        return (self,)

    def draw_tasks(self, num_proteins: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The number of each protein's task, (B,): all the same; nothing is drawn."""
        return np.zeros(num_proteins, np.int64)

    def num_added(self, vocab: Vocab) -> int:
        """Tokens that come to a protein's own in the inputs: `</s>`, and the prefix where there is one."""
        return 2 if self.prefix is not None and vocab.has_prefix(self.prefix) else 1
