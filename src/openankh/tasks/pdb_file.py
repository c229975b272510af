"""Chains of PDB files: their residues and where one atom of each lies. L residues."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.decompression import printable
from openankh.errors import UserError
from openankh.tasks.task import Atom

_LETTERS = {
    "ALA": "A", "ARG": "R", "ASN": "N", "ASP": "D", "CYS": "C", "GLN": "Q", "GLU": "E", "GLY": "G", "HIS": "H",
    "ILE": "I", "LEU": "L", "LYS": "K", "MET": "M", "PHE": "F", "PRO": "P", "SER": "S", "THR": "T", "TRP": "W",
    "TYR": "Y", "VAL": "V", "MSE": "M", "SEC": "U", "PYL": "O",
}  # fmt: skip
_XYZ = slice(30, 38), slice(38, 46), slice(46, 54)


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain's residues that have a C-alpha atom, and one atom's place of each in angstroms (L, 3)."""

    sequence: str
    xyz_L3: NDArray[np.float32]


def read_chains(lines: Iterable[str], atom: Atom) -> Mapping[str, Chain]:
    """The protein chains of the first model, by their names.

    `CB` is C-beta, of glycine C-alpha; it is not a number where the file does not say where it lies. Of alternative
    places the first one counts.
    """
    residues: dict[str, dict[str, tuple[str, dict[str, NDArray]]]] = {}
    for line in lines:
        if line.startswith("ENDMDL"):
            break
        name = line[17:20]
        is_residue = line.startswith("ATOM  ") or (line.startswith("HETATM") and name in ("MSE", "SEC", "PYL"))
        if not is_residue or line[12:16].strip() not in ("CA", "CB"):
            continue
        chain = residues.setdefault(line[21], {})
        _, atoms = chain.setdefault(line[22:27], (_LETTERS.get(name, "X"), {}))
        atoms.setdefault(line[12:16].strip(), np.array([float(line[part]) for part in _XYZ], np.float32))
    return {name: _chain(chain.values(), atom) for name, chain in residues.items()}


def read_archive(path: Path, atom: Atom) -> Mapping[str, Mapping[str, Chain]]:
    """The chains of each PDB file of a tar archive; UserError for an archive that cannot be read."""
    try:
        with tarfile.open(path) as archive:
            found = {}
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    lines = io.TextIOWrapper(file, encoding="ascii", errors="replace")
                    found[Path(member.name).name] = read_chains(lines, atom)
            return found
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it holds the PDB files of the chains in the table beside it") from None
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise UserError(f"{path}: no archive of PDB files ({reason}); copy it again") from None


def _chain(residues: Iterable[tuple[str, dict[str, NDArray]]], atom: Atom) -> Chain:
    kept = [(letter, atoms) for letter, atoms in residues if "CA" in atoms]
    nowhere = np.full(3, np.nan, np.float32)
    xyz = [atoms["CA"] if atom == "CA" or letter == "G" else atoms.get("CB", nowhere) for letter, atoms in kept]
    return Chain("".join(letter for letter, _ in kept), np.array(xyz, np.float32).reshape(-1, 3))
