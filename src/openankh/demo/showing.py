"""What the demo prints: the table, the comparison, where everything is, and what to type next."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from openankh.demo.exhibition import Finding, Shares, well_spread
from openankh.demo.proteins import Protein, short_organism

_BAR_WIDTH = 30
_FIXED_WIDTH = 38
"""Letters that the short table needs beside the two columns of names."""


def show_start(console: Console, proteins: Sequence[Protein], fasta: Path) -> None:
    """What will be embedded, and where it lies."""
    num_families = len({protein.family for protein in proteins})
    num_residues = sum(len(protein.sequence) for protein in proteins)
    console.print(
        f"{len(proteins)} well-known proteins of {num_families} families, {num_residues:,} residues: {_near(fasta)}",
        highlight=False,
        soft_wrap=True,
    )


def show_findings(console: Console, found: Sequence[Finding], table_file: Path) -> None:
    """A short table, well spread over the families, and how many rows it leaves out."""
    shown = well_spread(found)
    spare = max(console.width, 80) - _FIXED_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("protein", no_wrap=True, max_width=min(spare * 2 // 5, 44))
    table.add_column("length", justify="right")
    table.add_column("nearest neighbour", no_wrap=True, max_width=min(spare - spare * 2 // 5, 52))
    table.add_column("similarity", justify="right")
    table.add_column("family", no_wrap=True)
    for finding in shown:
        family = Text("same", style="green") if finding.is_alike else Text("other", style="yellow")
        protein = f"{finding.protein}, {short_organism(finding.organism)}"
        neighbour = f"{finding.nearest_id} {finding.nearest_protein}, {short_organism(finding.nearest_organism)}"
        table.add_row(finding.id, protein, str(finding.length), neighbour, f"{finding.similarity:.2f}", family)
    console.print(table)
    console.print(f"and {len(found) - len(shown)} more in {_near(table_file)}\n", highlight=False, soft_wrap=True)


def show_shares(console: Console, shares: Shares, model: str) -> None:
    """The model beside its controls, as numbers and bars."""
    console.print("Nearest neighbour of the same family, of all proteins:", style="bold")
    lines = [
        (model, shares.model, "bold"),
        ("amino-acid composition alone", shares.composition, ""),
        ("the same network, untrained", shares.untrained, ""),
        ("a blind pick", shares.chance, ""),
    ]
    width = max(len(name) for name, _, _ in lines)
    for name, share, style in lines:
        if share is not None:
            bar = ("█" if console.encoding.startswith("utf") else "#") * round(share * _BAR_WIDTH)
            console.print(f"  {name:<{width}}  {share:>4.0%}  {bar}", style=style, highlight=False)
    console.print()


def show_files(console: Console, files: dict[Path, str]) -> None:
    """Each file with what it holds."""
    console.print("Where everything is:", style="bold")
    width = max(len(_near(path)) for path in files)
    for path, what in files.items():
        console.print(f"  {_near(path):<{width}}  {what}", highlight=False, soft_wrap=True)
    console.print()


def show_next(console: Console, model: str, embeddings: Path) -> None:
    """Commands to go on with, spelt so that they run from this folder."""
    command, given = openankh_command(), "" if model == "openankh-nano" else f" --model {model}"
    commands = {
        f"{command} embed YOUR.fasta -o YOUR.h5{given}": "one vector a protein",
        f"{command} embed YOUR.fasta -o YOUR.h5{given} --pool residues": "one vector a residue",
        f"{command} info {_near(embeddings)}": "what is in a file",
        f"{command} --help": "all commands",
    }
    console.print("What to type next:", style="bold")
    for text, what in commands.items():
        console.print(f"  {what}:\n    {text}", highlight=False, soft_wrap=True)


def openankh_command() -> str:
    """How to call the command from here: by its name where the shell finds it, else by its path."""
    beside = Path(sys.executable).with_name("openankh")
    if shutil.which("openankh") or not beside.exists():
        return "openankh"
    return _near(beside)


def _near(path: Path) -> str:
    """The path as seen from the working folder where that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)
