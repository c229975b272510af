"""Hold networks of the published shapes, at their real widths, to transformers; write benchmarks/PARITY.md.

`make parity`; some minutes on two quiet cores, 8 GiB of memory and 3 GiB of disk for a while. Ends with code 1 where a
limit is exceeded.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import FOLDER, machine
from measuring import VALIDATION_PROTEINS, draw_proteins
from parity_fp16 import campaign
from parity_layers import PUBLISHED_SHAPES, Draw, compare

from openankh.files import write_file_atomically
from openankh.vocab import AMINO_ACIDS

NUM_LAYERS = 48
DEPTH_SCALE = (2 * NUM_LAYERS) ** -0.5
HEAD = [
    "| numbers, way | layers, largest | last state | logits | limits: layers, logits | |",
    "|---|---|---|---|---|---|",
]
NOTES = """Every distance is relative L2 over the rows of one protein, to transformers in fp32 where no other is named.
The largest of all proteins is told, which we pack into one batch and transformers takes one by one. Weights are random:
transformers' own draw (T5's), norms 1 + 0.2 n, a head of its own. "Scaled by depth": the matrices that end a branch (o,
wo) are multiplied by (2 x 48)^-0.5, as deep networks often begin. With T5's draw every layer writes as much as the one
before, and over 48 layers rounding the weights to bf16 leads further than a hundredth away, whatever the arithmetic:
there the limit is transformers' own distance in bf16."""


def draws(only: Sequence[str]) -> Iterator[tuple[str, Draw]]:
    """Every model to compare, under its title."""
    base = PUBLISHED_SHAPES["ankh-base"]
    whole = "the whole of ankh-base, 48 and 24 layers"
    yield f"{whole}, scaled by depth", Draw("ankh-base-scaled", base, DEPTH_SCALE, 1e-2)
    yield f"{whole}, T5's draw", Draw("ankh-base", base, 1.0, None)
    for name in ("ankh-large", "ankh2-ext1", "ankh3-large", "ankh3-xl"):
        shape = replace(PUBLISHED_SHAPES[name], num_encoder_layers=4, num_decoder_layers=2)
        yield f"{name}, real widths, 4 and 2 layers, T5's draw", Draw(name, shape, 1.0, 1e-2)


def real_sequences(num_proteins: int, longest: int) -> list[str]:
    """Real proteins of standard amino acids up to a length."""
    drawn = [record.sequence for record in draw_proteins(400).records]
    return [each for each in drawn if len(each) <= longest and set(each) <= set(AMINO_ACIDS)][:num_proteins]


def report(options: argparse.Namespace) -> Iterator[str]:
    """The lines of the report, each as soon as it is known; a line with **exceeded** is a failure."""
    sequences = real_sequences(options.proteins, options.longest)
    origin = "held-out real proteins" if VALIDATION_PROTEINS.is_file() else "bundled proteins"
    yield from ("# Parity with transformers", "", f"`{options.command}`", "", *machine(), "", NOTES, "")
    yield f"{len(sequences)} {origin} of {', '.join(str(len(each)) for each in sequences)} residues."
    for title, draw in draws(options.only):
        if options.only and draw.name not in options.only:
            continue
        yield from ("", f"## {title}", "")
        below = []
        table = HEAD
        for line in compare(draw, sequences, options.packings):
            if isinstance(line, str):
                below.append(f"- {line}")
                continue
            yield from table
            table = []
            yield str(line)
        yield from ("", *below)
    if options.fp16:
        yield from ("", "## fp16", "", str(campaign(options.fp16)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=6)
    parser.add_argument("--longest", type=int, default=700)
    parser.add_argument("--packings", type=int, default=10)
    parser.add_argument("--fp16", type=int, default=10_000, help="proteins of the fp16 campaign; 0 leaves it out")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these models alone")
    parser.add_argument("--out", type=Path, default=FOLDER / "PARITY.md")
    options = parser.parse_args(arguments)
    options.command = " ".join(["python benchmarks/parity.py", *(sys.argv[1:] if arguments is None else arguments)])
    warnings.filterwarnings("ignore")
    lines = []
    for line in report(options):
        print(line, flush=True)
        lines.append(line)
    write_file_atomically(options.out, "\n".join([*lines, ""]).encode())
    if any("**exceeded**" in line for line in lines):
        raise SystemExit(f"a limit is exceeded; see {options.out}")


if __name__ == "__main__":
    main()
