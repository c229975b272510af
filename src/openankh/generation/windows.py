"""Writes into the gaps of many proteins, a window of sentinels at a time, until none is left."""

from collections.abc import Sequence
from dataclasses import dataclass

from openankh.generation.gaps import Filling
from openankh.generation.method import Method
from openankh.generation.reader import Reader
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.writer import write
from openankh.vocab import Vocab


@dataclass(frozen=True, eq=False)
class Windows:
    """How gaps are filled: by which model (`width` numbers its logits), rules and method, `window` gaps at a time."""

    reader: Reader
    vocab: Vocab
    width: int
    rules: ResidueRules
    method: Method
    window: int
    max_rows: int

    def fill(self, proteins: Sequence[Filling], num: int) -> list[list[Filling]]:
        """`num` results of each protein: the first window brings them, what comes after belongs to each alone."""
        fillings = [[protein] for protein in proteins]
        while any(len(filling.gaps) for several in fillings for filling in several):
            fillings = self._next_window(fillings, num)
        return fillings

    def _next_window(self, fillings: Sequence[Sequence[Filling]], num: int) -> list[list[Filling]]:
        window = min(self.window, self.vocab.num_sentinels)
        open_ones = [filling for several in fillings for filling in several if len(filling.gaps)]
        nums = {id(several[0]): num if len(several) < num else 1 for several in fillings}
        jobs = [
            filling.job(self.vocab, self.rules, self.width, window, nums.get(id(filling), 1)) for filling in open_ones
        ]
        found = iter(write(self.reader, jobs, self.method, self.max_rows))

        def next_of(filling: Filling) -> list[Filling]:
            if not len(filling.gaps):
                return [filling]
            return [filling.filled(written, window, filling.sample + n) for n, written in enumerate(next(found))]

        return [[new for filling in several for new in next_of(filling)] for several in fillings]
