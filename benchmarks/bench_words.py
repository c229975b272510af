"""How fast vocabularies turn proteins into ids, on one core, beside the tokenizers library."""

import argparse
import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import AMINO_ACIDS, Vocab, ankh_vocab


def random_proteins(num_residues: int, seed: int = 0) -> list[str]:
    """Proteins of 50 to 650 residues, drawn uniformly from the 20 amino acids."""
    source = random.Random(seed)
    ends = [0]
    while ends[-1] < num_residues:
        ends.append(ends[-1] + source.randint(50, 650))
    text = "".join(source.choices(AMINO_ACIDS, k=ends[-1]))
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def residues_per_second(encode: Callable[[], object], num_residues: int, repeats: int) -> float:
    """The median over the repeats, after one unmeasured call, by CPU seconds: others on the machine do not count."""
    encode()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        encode()
        times.append(time.process_time() - start)
    return num_residues / sorted(times)[len(times) // 2]


def peer(vocab: Vocab, folder: Path) -> Callable[[Sequence[str]], object]:
    """The tokenizers library, given the files that we write for it."""
    from tokenizers import Tokenizer

    write_tokenizer(vocab, folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch_fast


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--residues", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    vocab, proteins = ankh_vocab(), random_proteins(options.residues)
    total = sum(map(len, proteins))
    few = proteins[: max(1, len(proteins) // 50)]
    rows = [
        ("encode_batch", residues_per_second(lambda: vocab.encode_batch(proteins), total, options.repeats)),
        ("encode, one by one", residues_per_second(lambda: [*map(vocab.encode, proteins)], total, options.repeats)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        encode = peer(vocab, Path(folder))
        rows.append(("tokenizers, batch", residues_per_second(lambda: encode(few), sum(map(len, few)), 3)))
    print(f"{len(proteins):,} proteins, {total:,} residues, one core")
    for name, rate in rows:
        print(f"{name:<20} {rate / 1e6:>8.1f} M residues/s   {rate / rows[-1][1]:>7.1f} x tokenizers")


if __name__ == "__main__":
    main()
