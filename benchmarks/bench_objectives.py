"""How fast proteins are hidden, shown and packed into training batches, on one core."""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from openankh.objectives import Objective, RandomResidues
from openankh.order import Order
from openankh.packed import Packed
from openankh.packing import Batches, PackingSettings
from openankh.vocab import Vocab, openankh_vocab


class RandomCorpus:
    """Proteins of 50 to 650 residues drawn uniformly, in memory."""

    def __init__(self, num: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.vocab: Vocab = openankh_vocab()
        self.lengths = rng.integers(50, 650, num)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.ids = rng.choice(self.vocab.standard_ids, self.offsets[-1])

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residues of these proteins, end to end."""
        packed = Packed.join([self.ids[self.offsets[i] : self.offsets[i + 1]] for i in indices])
        return packed.ids.astype(np.uint8), packed.offsets


def residues_per_second(run: Callable[[], int], rounds: int) -> float:
    """The best of several rounds, by processor time; `run` returns how many residues it handled."""
    best = 0.0
    for _ in range(rounds):
        begin = time.process_time()
        count = run()
        best = max(best, count / (time.process_time() - begin))
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    corpus, vocab, rng = RandomCorpus(options.proteins), openankh_vocab(), np.random.default_rng(0)
    proteins = Packed(corpus.ids, corpus.offsets)
    batches = Batches(corpus, Order(options.proteins, 0), Objective(), PackingSettings(16384, 512), 0)

    def corrupt(objective: Objective) -> Callable[[], int]:
        return lambda: len(objective.examples(proteins, vocab, rng).inputs.ids) - 2 * len(proteins)

    def pack() -> int:
        return sum(batch.num_residues for batch, _ in zip(batches.start_from(0), range(40), strict=False))

    rows = [
        ("hide and show, same share of each protein", corrupt(Objective())),
        ("hide and show, a coin for each residue", corrupt(Objective(mask=RandomResidues(0.2, exact=False)))),
        ("whole training batches of 16,384 tokens", pack),
    ]
    print("| what | M residues/s |\n|---|---|")
    for name, run in rows:
        print(f"| {name} | {residues_per_second(run, options.rounds) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
