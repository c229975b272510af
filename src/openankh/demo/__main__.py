"""`python -m openankh.demo`: embed well-known proteins, tell their neighbours, draw their map.

Runs offline in any folder; everything it writes goes into one output folder.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from openankh import cli
from openankh.cli import report
from openankh.cli.options import DEFAULT_MODEL
from openankh.demo import showing
from openankh.demo.exhibition import Finding, Shares, findings, shares, write_table
from openankh.demo.neighbours import nearest
from openankh.demo.outputs import Outputs
from openankh.demo.proteins import bundled_fasta, bundled_proteins
from openankh.demo.stored import read_vectors
from openankh.errors import UserError

_NEEDED = {"h5py": "h5py", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m openankh.demo --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0, or 2 after one line on what the user can mend."""
    try:
        return run(*_parsed(arguments))
    except UserError as error:
        report.error(str(error))
        return cli.USER_ERROR
    except KeyboardInterrupt:
        report.error("interrupted")
        return cli.INTERRUPTED


def _parsed(arguments: Sequence[str] | None) -> tuple[str, Path]:
    parser = _Parser(prog="python -m openankh.demo", description=(__doc__ or "").split(": ", 1)[1].split("\n")[0])
    parser.add_argument("--model", "-m", default=DEFAULT_MODEL, help="a name or a model folder (default: %(default)s)")
    parser.add_argument("--out", "-o", default="demo-output", help="folder for all files (default: %(default)s)")
    values = parser.parse_args(arguments)
    return values.model, Path(values.out)


def run(model: str, out: Path) -> int:
    """Embed, compare, draw and tell; the exit code of embedding where that failed."""
    _require_extras()
    console, proteins = Console(), bundled_proteins()
    files = Outputs.into(out)
    showing.show_start(console, proteins, bundled_fasta())
    if code := _embed(model, bundled_fasta(), files.embeddings):
        return code
    vectors = read_vectors(files.embeddings)
    neighbours = nearest(vectors)
    found = findings(proteins, neighbours)
    compared = shares(proteins, neighbours, _untrained(model, bundled_fasta()))
    write_table(found, files.table)
    _draw(model, vectors, found, compared, files.picture)
    showing.show_findings(console, found, files.table)
    showing.show_shares(console, compared, _short(model))
    showing.show_files(console, files.described(vectors.shape[1]))
    showing.show_next(console, model, files.embeddings)
    return 0


def _require_extras() -> None:
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f'the demo needs {" and ".join(missing)}; run: pip install "openankh[demo]"')


def _embed(model: str, fasta: Path, embeddings: Path) -> int:
    """Run the command that users will run themselves."""
    return cli.main(["embed", str(fasta), "-o", str(embeddings), "--model", model, "--overwrite"])


def _untrained(model: str, fasta: Path) -> NDArray[np.floating] | None:
    """The same proteins through a network of the same shape that has learnt nothing."""
    from openankh.checkpoint import read_config, resolve
    from openankh.demo.control import untrained_vectors
    from openankh.fasta import FastaReader
    from openankh.tokenizer_files import read_vocab

    folder = resolve(model)
    with FastaReader(fasta) as records:
        return untrained_vectors(read_config(folder), read_vocab(folder), records)


def _draw(model: str, vectors: NDArray[np.floating], found: Sequence[Finding], compared: Shares, picture: Path) -> None:
    from openankh.demo.family_map import METHOD, draw, laid_out

    title = f"{len(found)} well-known proteins as {_short(model)} sees them"
    remarks = (
        f"{METHOD} of mean-pooled embeddings, {vectors.shape[1]} numbers a protein. Only nearness means something; "
        "thin lines join a family's members.",
        f"Nearest neighbour of the same family: {compared.model:.0%} of the proteins; by amino-acid composition alone "
        f"{compared.composition:.0%}.",
    )
    draw(laid_out(vectors), [finding.family for finding in found], title, remarks, picture)


def _short(model: str) -> str:
    """A model's name, or the last two parts of its folder's path."""
    return "/".join(Path(model).resolve().parts[-2:]) if Path(model).is_dir() else model


if __name__ == "__main__":
    sys.exit(main())
